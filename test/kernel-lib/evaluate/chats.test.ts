// Divergence on held-out chats: against the trainer's own divergence on the lab model, and by hand on the fake engine.
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { random } from "../../../kernel-lib/src/base";
import { loraParameterCount } from "../../../kernel-lib/src/checkpoint";
import { openModel } from "../../../kernel-lib/src/engine";
import { chatMetrics, type ChatRecord, evaluateChats } from "../../../kernel-lib/src/evaluate";
import { findMetrics } from "../../../kernel-lib/src/runs";
import { loadProtocol, readHeldOutChats, readRetention, twin } from "../../../kernel-lib/src/study";
import { trainConfigOf, trainerOptions } from "../../../kernel-lib/src/train";
import { fakeAdapter, FakeEngine, fakeModel } from "../../helpers/fake-engine";

const strict = loadProtocol("strict");
const small = twin(strict, {
  contexts: strict.contexts.filter(({ split }) => split === "train").slice(0, 4),
  "evaluation.tiers": [strict.evaluation.tiers[0]],
  aims: strict.aims,
});
const root = (): string => mkdtempSync(join(tmpdir(), "chats-"));

it("no held-out chat is trained on", () => {
  const trained = new Set(readRetention().chats.flatMap(({ user, replies }) => [user, ...replies]));
  const held = readHeldOutChats();
  expect(held.length).toBeGreaterThanOrEqual(30);
  for (const { user, replies } of held) for (const text of [user, ...replies]) expect(trained.has(text)).toBe(false);
});

describe("evaluateChats", () => {
  it("finds nothing where nothing changed, and the divergence of a formula where it did", async () => {
    const engine = new FakeEngine();
    const same = await evaluateChats(fakeModel(engine), small, { root: root(), adapter: fakeAdapter(engine, [0, 0]) });
    expect(same.find({ name: "chatDivergence" })[0]).toMatchObject({ value: 0, n: 60 });
    expect(same.aims).toMatchObject([{ metric: "chatDivergence", reached: true }]);
    const moved = await evaluateChats(fakeModel(engine), small, { root: root(), adapter: fakeAdapter(engine, [6, 0]) });
    const [divergence] = moved.find({ name: "chatDivergence" });
    expect(divergence.clusters).toEqual({ chat: 30 });
    expect(divergence.method).toMatch(/by chat \(30\)/);
    // Mass .9 on yes and no; yes from logistic(-4 + jitter) to logistic(2 + jitter), jitter within one half.
    const kl = (jitter: number): number => {
      const [p, q] = [-4, 2].map((z) => 1 / (1 + Math.exp(-z - jitter)));
      return 0.9 * (p * Math.log(p / q) + (1 - p) * Math.log((1 - p) / (1 - q)));
    };
    expect(divergence.value!).toBeGreaterThan(kl(-0.5));
    expect(divergence.value!).toBeLessThan(kl(0.5));
    expect(moved.find({ name: "topTokenChanges" })[0].value).toBe(1);
    expect(moved.aims).toMatchObject([{ verdict: "missed", tier: "chats", most: 0.02 }]);
  });

  it("agrees with the trainer's divergence, token by token, on the lab model", { timeout: 120_000 }, async () => {
    const model = await openModel(undefined, { threads: 1 });
    const chats = readHeldOutChats().slice(0, 3);
    const trainer = model.engine.createTrainer(trainerOptions(trainConfigOf(small, 16, 1)), new Float32Array(count()));
    try {
      const rng = random(3);
      const params = Float32Array.from({ length: count() }, () => 0.03 * rng.normal());
      await trainer.setState({ params, m: new Float32Array(count()), v: new Float32Array(count()) });
      const { records } = await evaluateChats(model, small, {
        root: root(),
        adapter: trainer.adapter("random"),
        chats,
      });
      const lessons = chats.flatMap(({ user, replies }) =>
        replies.map((reply) => {
          const turns = [
            { role: "system", content: small.conversation.system },
            { role: "user", content: user },
          ] as const;
          const start = model.encodeChat(turns, { answerPrefix: "" }).ids.length - 1;
          const whole = model.encodeChat(turns, { answerPrefix: reply }).ids;
          const question = whole.subarray(start);
          return { context: whole.subarray(0, start), question, steering: [], positions: question.length };
        }),
      );
      const { loss } = await trainer.evaluate(lessons);
      expect(records).toHaveLength(6);
      for (const [i, { divergence, positions, largest }] of records.entries()) {
        expect(positions).toBe(lessons[i].positions);
        expect(divergence).toBeGreaterThan(0.01);
        expect(largest).toBeGreaterThan(divergence);
        expect(Math.abs(divergence / loss[i] - 1)).toBeLessThan(1e-3); // f32 logprobs against f32 logits
      }
    } finally {
      trainer.dispose();
      model.dispose();
    }
    function count(): number {
      return loraParameterCount(model.engine.config, small.training.lora.r, small.training.lora.targetModules);
    }
  });
});

it("weighs every reply alike and resamples chats", () => {
  const reply = (chat: string, divergence: number, positions: number): ChatRecord => ({
    id: `${chat} ${divergence}`,
    chat,
    user: "",
    reply: 0,
    condition: "tuned",
    positions,
    divergence,
    largest: divergence,
    topChanges: 1,
    adapterHash: "a",
    modelHash: "m",
  });
  const metrics = chatMetrics([reply("a", 0.1, 10), reply("a", 0.2, 10), reply("b", 0.6, 20)]);
  expect(findMetrics(metrics, { name: "chatDivergence" })[0].value).toBeCloseTo(0.3, 12);
  expect(findMetrics(metrics, { name: "topTokenChanges" })[0]).toMatchObject({ value: 3 / 40, n: 40, low: null });
});
