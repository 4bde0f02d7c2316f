// What a batch says: time left, in place on a terminal, few lines in a log.
import { describe, expect, it } from "vitest";
import { batchReporter, batchSecondsLeft, cellsFromLog, failureFromLog } from "../../../kernel-lib/src/command";

const WORK = { label: "train", done: 1, total: 4, elapsedSeconds: 5, leftSeconds: 15, note: "", finished: false };

describe("batchSecondsLeft", () => {
  it("adds the waiting notebooks to the running one", () => {
    expect(batchSecondsLeft([60, 100, 30], 1, 40, null)).toBe(90);
    expect(batchSecondsLeft([60, 100, 30], 0, 40, 50)).toBe(180);
    expect(batchSecondsLeft([60], 0, 400, 12)).toBe(12);
  });
  it("is unknown rather than wrong", () => {
    expect(batchSecondsLeft([60, null], 0, 1, 10)).toBeNull();
    expect(batchSecondsLeft([null], 0, 1, null)).toBeNull();
    expect(batchSecondsLeft([null], 0, 1, 10)).toBe(10);
  });
});

describe("batchReporter", () => {
  it("rewrites one line on a terminal", () => {
    let text = "";
    const stream = { isTTY: true, columns: 90, write: (piece: string) => (text += piece) };
    let now = 0;
    const reporter = batchReporter(stream, [60, 60], () => now);
    reporter.start(0, "01-train");
    now = 5000;
    reporter.running({ cells: { done: 2, total: 9 }, work: WORK });
    expect(text).toMatch(/^\r\[1\/2\] 01-train, cell 3 of 9, 5\.0 s \| train 1\/4 \(25 %\), 5\.0 s, about 15 s left/);
    expect(text).not.toContain("\n");
    expect(text.length).toBeLessThanOrEqual(90);
  });
  it("writes a line every 15 seconds into a log", () => {
    const lines: string[] = [];
    let now = 0;
    const reporter = batchReporter({ write: (piece: string) => lines.push(piece) }, [60], () => now);
    reporter.start(0, "a");
    for (now = 0; now <= 60_000; now += 500) reporter.running({ cells: null, work: null });
    expect(lines).toHaveLength(5);
    expect(lines[1]).toMatch(/about 45 s left in all/);
  });
});

describe("papermill's log", () => {
  it("tells the cell from the progress bar", () => {
    expect(cellsFromLog("\rExecuting:  40%|####      | 4/10 [00:12<00:18,  3.1s/cell]")).toEqual({
      done: 4,
      total: 10,
    });
    expect(cellsFromLog("Input Notebook: a/b")).toBeNull();
  });
  it("gives the error sentence or the end of the traceback", () => {
    expect(failureFromLog("Input Notebook: a\nError: Expected a parameter\n")).toBe("Error: Expected a parameter");
    expect(failureFromLog("a\nb\nc\nd\ne\n")).toBe("b\nc\nd\ne");
  });
});
