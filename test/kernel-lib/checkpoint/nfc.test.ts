/** Composition by the tables that tokenizers were trained with; the expected texts are those of the tokenizers library 0.23. */
import { describe, expect, it } from "vitest";
import { asTokenizersCompose } from "../../../kernel-lib/src/checkpoint";

describe("asTokenizersCompose", () => {
  it("is NFC for all that Unicode 9 knows", () => {
    for (const text of ["e\u0301", "\u1100\u1161\u11a8", "q\u0307\u0323", "\u212b", "plain", ""])
      expect(asTokenizersCompose(text)).toBe(text.normalize("NFC"));
  });

  it("leaves later marks where they stand and composes nothing across them", () => {
    expect(asTokenizersCompose("a\u0315\u1dfa")).toBe("a\u0315\u1dfa"); // Node sorts U+1DFA (Unicode 14) before U+0315
    expect(asTokenizersCompose("e\u1abf\u0301")).toBe("e\u1abf\u0301");
    expect(asTokenizersCompose("e\u0301\u1abf")).toBe("\u00e9\u1abf");
  });

  it("neither makes nor takes apart later compositions", () => {
    expect(asTokenizersCompose("\u{11935}\u{11930}")).toBe("\u{11935}\u{11930}"); // Node: U+11938 (Unicode 13)
    expect(asTokenizersCompose("\u{11938}")).toBe("\u{11938}");
  });
});
