// Progress lines with a clock of our own: quiet at first, rarely, in place, and honest about the time left.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  addSample,
  fileSink,
  formatDuration,
  logSink,
  notebookSink,
  type ProgressState,
  progressText,
  secondsLeft,
  showProgress,
  startProgress,
  terminalSink,
  WINDOW_MS,
  windowAfter,
  withProgress,
} from "../../kernel-lib/src/notebook";
import { temporaryFolder } from "../helpers/notebook";

function harness(intervalMs: number): { shown: ProgressState[]; advance(ms: number): void; options: object } {
  let now = 1000;
  const shown: ProgressState[] = [];
  const sink = { intervalMs, show: (state: ProgressState) => shown.push(state) };
  return { shown, advance: (ms) => (now += ms), options: { clock: () => now, sinks: [sink] } };
}

describe("startProgress", () => {
  it("shows nothing for work under two seconds", () => {
    const { shown, advance, options } = harness(0);
    const progress = startProgress("quick", 3, options);
    advance(900);
    progress.update(1);
    advance(900);
    progress.done();
    expect(shown).toEqual([]);
  });

  it("shows at most four states a second and always the last", () => {
    const { shown, advance, options } = harness(250);
    const progress = startProgress("train", 1000, options);
    for (let i = 1; i <= 1000; i++) {
      advance(10);
      progress.update(i, `loss ${i}`);
    }
    progress.done();
    expect(shown.length).toBeLessThanOrEqual(8 * 4 + 2);
    expect(shown.at(-1)).toMatchObject({ finished: true, done: 1000, note: "loss 1000" });
    expect(shown[0].elapsedSeconds).toBeGreaterThanOrEqual(2);
    const middle = shown[Math.floor(shown.length / 2)];
    expect(middle.leftSeconds).toBeCloseTo((1000 - middle.done) * 0.01, 6);
  });

  it("takes the time left of resumed work from what is done now, not from what was done before", () => {
    const { shown, advance, options } = harness(0);
    const progress = showProgress("train", options);
    for (let step = 61; step <= 65; step++) {
      progress(step, 100);
      advance(1000);
    }
    expect(shown.at(-1)).toMatchObject({ done: 65, leftSeconds: 35 });
  });

  it("finishes when the body resolves and not when it throws", async () => {
    const good = harness(0);
    const value = await withProgress(
      "a",
      2,
      async (tick) => {
        good.advance(3000);
        tick(1);
        return 7;
      },
      good.options,
    );
    expect(value).toBe(7);
    expect(good.shown.map(({ finished }) => finished)).toEqual([false, true]);
    const bad = harness(0);
    const failing = withProgress(
      "b",
      2,
      async (tick) => {
        bad.advance(3000);
        tick(1);
        throw new Error("stop");
      },
      bad.options,
    );
    await expect(failing).rejects.toThrow("stop");
    expect(bad.shown.map(({ finished }) => finished)).toEqual([false]);
  });
});

describe("secondsLeft", () => {
  it("uses the window's rate and is null while unknown", () => {
    expect(secondsLeft([{ at: 0, done: 0 }], 10)).toBeNull();
    expect(
      secondsLeft(
        [
          { at: 0, done: 0 },
          { at: 1000, done: 0 },
        ],
        10,
      ),
    ).toBeNull();
    expect(
      secondsLeft(
        [
          { at: 0, done: 0 },
          { at: 10_000, done: 5 },
        ],
        20,
      ),
    ).toBe(30);
    expect(
      secondsLeft(
        [
          { at: 0, done: 0 },
          { at: 10_000, done: 5 },
        ],
        null,
      ),
    ).toBeNull();
    expect(
      secondsLeft(
        [
          { at: 0, done: 0 },
          { at: 10_000, done: 20 },
        ],
        20,
      ),
    ).toBe(0);
  });

  it("forgets a slow start", () => {
    let samples = [{ at: 0, done: 0 }];
    samples = addSample(samples, { at: 120_000, done: 1 });
    for (let i = 1; i <= 60; i++) samples = addSample(samples, { at: 120_000 + i * 1000, done: 1 + i });
    expect(secondsLeft(samples, 161)).toBeCloseTo(100, 6);
    expect(samples[0].at).toBeGreaterThanOrEqual(180_000 - WINDOW_MS);
    expect(addSample([{ at: 0, done: 0 }], { at: 10 * WINDOW_MS, done: 1 })).toHaveLength(2);
  });
});

describe("long work of unlike parts", () => {
  it("is judged by several of its parts, and keeps few samples", () => {
    // Parts of 100 units: the first half takes 80 s, the second 20 s.
    const at = (done: number): number => {
      const [whole, rest] = [Math.floor(done / 100), done % 100];
      return 1000 * (100 * whole + (rest < 50 ? rest * 1.6 : 80 + (rest - 50) * 0.4));
    };
    const total = 4000;
    let samples = [{ at: 0, done: 0 }];
    const wrong: number[] = [];
    for (let done = 0.25; done < total; done += 0.25) {
      samples = addSample(samples, { at: at(done), done }, windowAfter(at(done)));
      if (done > total / 4) wrong.push((secondsLeft(samples, total) as number) / ((at(total) - at(done)) / 1000));
    }
    expect(Math.max(...wrong.slice(0, 2000))).toBeLessThan(1.2);
    expect(Math.min(...wrong.slice(0, 2000))).toBeGreaterThan(0.8);
    expect(samples.length).toBeLessThan(400);
  });
});

describe("text", () => {
  it.each([
    [0.42, "0.4 s"],
    [9.96, "10 s"],
    [59.6, "1 min 00 s"],
    [200, "3 min 20 s"],
    [7500, "2 h 05 min"],
    [3599.7, "1 h 00 min"],
  ])("%s s is %s", (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });

  it("says count, share, time, time left and note", () => {
    const state = {
      label: "train",
      done: 120,
      total: 400,
      elapsedSeconds: 65,
      leftSeconds: 151,
      note: "loss 0.31",
      finished: false,
    };
    expect(progressText(state)).toBe("train 120/400 (30 %), 1 min 05 s, about 2 min 31 s left, loss 0.31");
    expect(progressText({ ...state, total: null, leftSeconds: null, note: "" })).toBe("train 120, 1 min 05 s");
    expect(progressText({ ...state, finished: true })).toBe("train 120/400, 1 min 05 s, loss 0.31");
  });
});

describe("sinks", () => {
  const state = { label: "<t>", done: 1, total: 4, elapsedSeconds: 5, leftSeconds: 15, note: "", finished: false };

  it("update one notebook display, escaped", () => {
    const sent: unknown[] = [];
    const sink = notebookSink((bundle, options) => sent.push({ ...bundle, ...options }), "id");
    sink.show(state);
    sink.show({ ...state, finished: true });
    expect(sent).toMatchObject([
      { id: "id", update: false },
      { id: "id", update: true },
    ]);
    expect((sent[0] as Record<string, string>)["text/html"]).toMatch(
      /<progress value="1" max="4"><\/progress> &lt;t&gt; 1\/4/,
    );
  });

  it("rewrite one terminal line, as wide as the terminal", () => {
    let text = "";
    const sink = terminalSink({ columns: 30, write: (piece: string) => (text += piece) });
    sink.show(state);
    sink.show({ ...state, finished: true });
    const [first, second] = text.split("\r").slice(1);
    expect(first).toHaveLength(29);
    expect(second).toMatch(/\n$/);
  });

  it("write lines to logs and one object to a file", () => {
    let text = "";
    logSink({ write: (piece: string) => (text += piece) }).show(state);
    expect(text).toBe("<t> 1/4 (25 %), 5.0 s, about 15 s left\n");
    const path = join(temporaryFolder(), "p.json");
    fileSink(path).show(state);
    expect(JSON.parse(readFileSync(path, "utf8"))).toEqual(state);
    expect(() => fileSink("/nowhere/at/all.json").show(state)).not.toThrow();
  });
});
