import assert from "node:assert/strict";
import { test } from "node:test";

import { EventParser } from "../static/sse.js";

const STREAM = ': heartbeat\n\nid: 4\nevent: progress\ndata: {"a":1}\n\ndata: [DONE]\n\n';

test("events are read wherever the pieces of the stream are cut", () => {
  const whole = new EventParser().push(STREAM);
  for (let cut = 0; cut <= STREAM.length; cut += 1) {
    const parser = new EventParser();
    assert.deepEqual([...parser.push(STREAM.slice(0, cut)), ...parser.push(STREAM.slice(cut))], whole);
  }
  assert.deepEqual(whole, [
    { event: "progress", id: "4", data: '{"a":1}' },
    { event: "message", id: "4", data: "[DONE]" },
  ]);
});

test("all three line ends count, also when CR and LF come in two pieces", () => {
  for (const end of ["\n", "\r\n", "\r"]) {
    const parser = new EventParser();
    const text = `data: a${end}data: b${end}${end}data: c${end}${end}: x${end}`;
    const events = [...text].flatMap((piece) => parser.push(piece));
    assert.deepEqual(
      events.map(({ data }) => data),
      ["a\nb", "c"],
    );
  }
});

test("a comment is no event, and neither is an event without data", () => {
  assert.deepEqual(new EventParser().push(": heartbeat\n\nevent: jobs\n\n"), []);
});

test("an event that was not finished is not given", () => {
  assert.deepEqual(new EventParser().push("event: jobs\ndata: {}\n"), []);
});
