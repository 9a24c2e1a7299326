import assert from "node:assert/strict";
import { test } from "node:test";

import { backoff } from "../static/live.js";

test("waits double up to a cap", () => {
  const waits = [1, 2, 3, 4, 5, 6, 50].map((tries) => backoff(tries, () => 0.5));
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 8000, 8000]);
});

test("tabs that lost the server together do not come back together", () => {
  assert.ok(backoff(3, () => 0) < backoff(3, () => 1));
});
