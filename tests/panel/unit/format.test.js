import assert from "node:assert/strict";
import { test } from "node:test";

import * as format from "../static/format.js";

test("a percentage is cut, so that only what is done reads 100%", () => {
  assert.equal(format.formatPercent(99.96), "99.9%");
  assert.equal(format.formatPercent(100), "100%");
  assert.equal(format.formatPercent(0), "0.0%");
});

test("a percentage stays between 0 and 100, whatever was sent", () => {
  for (const [sent, shown] of [
    [-5, "0.0%"],
    [250, "100%"],
    [null, "0.0%"],
    [NaN, "0.0%"],
    ["x", "0.0%"],
  ]) {
    assert.equal(format.formatPercent(sent), shown);
  }
});

test("one of something is not several", () => {
  assert.deepEqual(
    [0, 1, 9].map((count) => format.plural(count, "file")),
    ["0 files", "1 file", "9 files"],
  );
});

test("how long ago something was is told by its largest unit", () => {
  const now = Date.parse("2026-11-20T06:00:00Z");
  const ago = (seconds) => format.formatAgo(new Date(now - seconds * 1000).toISOString(), now);
  assert.deepEqual([3, 60, 3599, 7200, 90000, 200000].map(ago), [
    "just now",
    "1 min ago",
    "59 min ago",
    "2 h ago",
    "1 day ago",
    "2 days ago",
  ]);
});

test("a time that is none is left out", () => {
  assert.equal(format.formatClock("yesterday"), "");
  assert.equal(format.formatAgo(null, Date.now()), "");
});
