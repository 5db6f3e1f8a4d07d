// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the table of cases has these placeholders.
// The patterns of the table of cases must be able to fail.

import assert from "node:assert/strict";
import { test } from "node:test";
import { expand, mismatch, type Names } from "./conformance/pattern.js";

const MATCHES: [pattern: unknown, value: unknown][] = [
  [1, 1],
  ["$any", null],
  ["$absent", undefined],
  ["$seq", 3],
  [{ a: 1 }, { a: 1, b: 2 }],
  [
    ["$string", "$number"],
    ["x", 1],
  ],
  [{ $includes: [1, 2] }, [2, 3, 1]],
  [{ $excludes: 4 }, [1]],
  [{ $unordered: ["$any", 1] }, [1, 2]],
  [{ $length: 2 }, [1, 2]],
  [{ $has: "b" }, "abc"],
  ["$time", "2026-11-20T17:01:36.585692Z"],
];

const MISMATCHES: [pattern: unknown, value: unknown][] = [
  [1, "1"],
  ["$any", undefined],
  ["$absent", 0],
  ["$seq", 0],
  ["$uuid", "01A1F9E8-0BC9-765A-8AFE-827FD6EDD7FE"],
  ["$time", "yesterday"],
  [{ a: 1 }, { b: 1 }],
  [["$any"], [1, 2]],
  [{ $includes: [1, 5] }, [1, 2]],
  [{ $excludes: 1 }, [1]],
  [{ $unordered: [1, 1] }, [1, 2]],
  [{ $length: 1 }, []],
  [{ $has: "x" }, "abc"],
  [{ $bind: "x", is: 1 }, 2],
];

test("patterns match what they should", () => {
  for (const [pattern, value] of MATCHES) assert.equal(mismatch(pattern, value, new Map()), undefined);
});

test("patterns refuse what they should", () => {
  for (const [pattern, value] of MISMATCHES) {
    assert.notEqual(mismatch(pattern, value, new Map()), undefined, JSON.stringify(pattern));
  }
});

test("names are bound and expanded", () => {
  const names: Names = new Map([["run", "ab"]]);
  assert.equal(mismatch({ a: { $bind: "sent" } }, { a: { seq: [7] } }, names), undefined);
  assert.deepEqual(expand(["${sent.seq.0}", "ann-${run}", { $times: 2, of: "${i}" }], names), [
    7,
    "ann-ab",
    [0, 1],
  ]);
  assert.deepEqual(expand({ $text: "x", times: 3 }, names), "xxx");
  assert.throws(() => expand("${other}", names), /other is not bound/);
});
