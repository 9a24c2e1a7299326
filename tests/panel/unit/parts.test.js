import assert from "node:assert/strict";
import { test } from "node:test";

import { amounts, keyOf, looks, ranges, shares, sourceOf } from "../static/parts.js";

const LAB = { source: "peer", host: "lab-2:8765" };
const HUB = { source: "huggingface", host: "huggingface.co" };
const MIXED = [
  [0, 400, "peer lab-2:8765"],
  [400, 500, "cache chunks"],
  [500, 700, "cache"],
  [800, 1000, "huggingface huggingface.co"],
];

test("a label names a kind and a host", () => {
  assert.deepEqual(sourceOf("peer lab-2:8765"), LAB);
  assert.deepEqual(sourceOf("local /models/a b"), { source: "local", host: "/models/a b" });
  assert.deepEqual(sourceOf("cache chunks"), sourceOf("cache"));
  assert.equal(keyOf(LAB), "peer lab-2:8765");
});

test("the bytes of each source are added up, the largest first", () => {
  assert.deepEqual(
    amounts(MIXED).map(({ source, received }) => [source, received]),
    [
      ["peer", 400],
      ["cache", 300],
      ["huggingface", 200],
    ],
  );
  assert.deepEqual(amounts([]), []);
});

test("neighbours of one source are one range, and gaps stay", () => {
  assert.deepEqual(
    ranges(MIXED, 1000).map(({ source: { source }, left, width }) => [source, left, width]),
    [
      ["peer", 0, 40],
      ["cache", 40, 30],
      ["huggingface", 80, 20],
    ],
  );
});

test("a range too short to be seen is a little longer", () => {
  const [{ width }] = ranges([[0, 1, "peer a"]], 1e9);
  assert.ok(width > 0.1 && width < 1);
});

test("a file without bytes has no ranges, and nothing is beyond the end", () => {
  assert.deepEqual(ranges([], 0), []);
  const [{ left, width }] = ranges([[0, 5000, "peer a"]], 1000);
  assert.deepEqual([left, width], [0, 100]);
});

test("shares follow one another in an order that does not change with the amounts", () => {
  const [few, many] = [
    [{ ...LAB, received: 100 }, { ...HUB, received: 300 }],
    [{ ...HUB, received: 400 }, { ...LAB, received: 500 }],
  ];
  for (const sources of [few, many]) {
    const found = shares(sources, 1000);
    assert.deepEqual(found.map(({ source }) => source.source), ["huggingface", "peer"]);
    assert.equal(found[1].left, found[0].width);
  }
});

test("a kind has one colour, and its hosts have shades of it", () => {
  const other = { source: "peer", host: "lab-9:8765" };
  const look = looks([LAB, HUB, other]);
  assert.deepEqual(look(LAB), ["source-peer", "shade-0"]);
  assert.deepEqual(look(other), ["source-peer", "shade-1"]);
  assert.deepEqual(look(HUB), ["source-huggingface", "shade-0"]);
  // Each job has it, and the order of the amounts changes while a job runs.
  assert.deepEqual(looks([other, LAB, HUB, other, LAB])(other), look(other));
  assert.deepEqual(looks([other, HUB, LAB])(LAB), look(LAB));
});

test("a kind of a later version, or one that is no kind, is no class of its own", () => {
  const strange = { source: 'x" onclick="', host: "a" };
  assert.deepEqual(looks([strange])(strange), ["source-other", "shade-0"]);
  assert.deepEqual(looks([])(LAB), ["source-peer", "shade-0"]);
});
