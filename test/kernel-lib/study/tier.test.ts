/** What a tier is follows from its fields alone: words, kind and axes are the same whatever it is called. */
import { describe, expect, it } from "vitest";
import { isCleanTier, loadProtocol, mainTier, type Protocol, tierViews } from "../../../kernel-lib/src/study";

const strict = loadProtocol("strict");
const card = loadProtocol("card");

describe("tierViews", () => {
  it("names every tier by what it asks and holds out", () => {
    const words = Object.fromEntries(tierViews(strict).map(({ name, title, kind }) => [name, [title, kind]]));
    expect(words.in_distribution).toEqual(["Trained vectors, as in training", "trained"]);
    expect(words.held_out_random).toEqual(["New vectors and topics", "vectors"]);
    expect(words.held_out_replies).toEqual(["New vectors and replies", "replies"]);
    expect(words.held_out_wordings).toEqual(["New vectors, topics and wordings", "wordings"]);
    expect(words.card_question).toEqual(["New vectors, topics and the card's own question", "wordings"]);
    expect(words.held_out_strengths).toEqual(["New vectors, topics and strengths", "strengths"]);
    expect(words.held_out_ranges).toEqual(["New vectors, topics and layer ranges", "ranges"]);
    expect(words.concepts_102).toEqual(["Concept vectors, new topics", "concepts"]);
    expect(words.concepts_matched).toEqual(["Random twins of the concept vectors, new topics", "matched"]);
    expect(words.controls).toEqual(["Control questions, caches of: new vectors and topics", "control"]);
    expect(words.clean_held_out).toEqual(["Clean text, new topics", "clean"]);
    expect(words.hard_negatives).toEqual(["Clean text of unusual kinds", "unusual"]);
    expect(words.info_prompt).toEqual(["New vectors and topics, steering explained first", "explained"]);
  });

  it.each([strict, card])("gives each tier of a protocol its own title, which no name enters", (protocol) => {
    const titles = (of: Protocol): string[] => tierViews(of).map(({ title }) => title);
    expect(new Set(titles(protocol)).size).toBe(protocol.evaluation.tiers.length);
    const names = protocol.evaluation.tiers.map(({ name }) => name);
    const tiers = protocol.evaluation.tiers.map((tier, i) => {
      const cachesOf = tier.cachesOf === null ? null : `other_${names.indexOf(tier.cachesOf)}`;
      return { ...tier, name: `other_${i}`, cachesOf };
    });
    expect(titles({ ...protocol, evaluation: { ...protocol.evaluation, tiers } })).toEqual(titles(protocol));
    const twice = { ...protocol.evaluation, tiers: [tiers[0], { ...tiers[0], name: "again" }] };
    const [first, second] = titles({ ...protocol, evaluation: twice });
    expect(second).toBe(`${first} (2)`);
  });

  it("marks the axes that leave what was trained on, none of steering for clean tiers", () => {
    const of = (name: string) => tierViews(strict).find((view) => view.name === name)!.heldOut;
    expect(Object.values(of("in_distribution"))).toEqual(Array(6).fill(false));
    expect(of("held_out_wordings")).toEqual({
      vectors: true,
      topics: true,
      replies: true,
      question: true,
      strengths: false,
      ranges: false,
    });
    expect(of("hard_negatives")).toMatchObject({ vectors: null, strengths: null, ranges: null, topics: true });
    expect(of("held_out_replies")).toMatchObject({ topics: false, replies: true });
    // A protocol that trains on every reply holds none out.
    const all = { ...strict, training: { ...strict.training, trainReplies: 5 } };
    expect(tierViews(all).find(({ name }) => name === "held_out_replies")!.heldOut.replies).toBe(false);
  });
});

describe("mainTier", () => {
  it("is the tier of a kind that is also asked before training, then the one with most vectors", () => {
    const views = tierViews(strict);
    expect(mainTier(views, "vectors")!.name).toBe("held_out_random");
    expect(mainTier(views, "wordings")!.name).toBe("held_out_wordings");
    expect(
      mainTier(
        views.filter(({ spec }) => !isCleanTier(spec)),
        "clean",
      ),
    ).toBeNull();
    const [one] = views.filter(({ kind }) => kind === "vectors");
    const small = { ...one, name: "small", spec: { ...one.spec, vectorCount: 5 } };
    const whole = { ...one, name: "whole", spec: { ...one.spec, vectorCount: 0 } };
    const unpaired = { ...one, name: "unpaired", spec: { ...one.spec, vectorCount: 0, baseline: false } };
    expect(mainTier([unpaired, small, whole], "vectors")!.name).toBe("whole");
    expect(mainTier([unpaired, small], "vectors")!.name).toBe("small");
  });
});
