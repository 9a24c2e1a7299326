import assert from "node:assert/strict";
import { test } from "node:test";

import { search } from "../static/search.js";

const model = (name, more = {}) => ({
  name,
  title: "",
  aliases: [],
  license: "MIT",
  kind: "model",
  homepage: "",
  catalog: "built-in",
  ...more,
});

const MODELS = [
  model("faster-whisper-base", { title: "Faster Whisper" }),
  model("tts-models", { title: "Pocket TTS Café", aliases: ["pocket-tts-en-int8"], license: "CC-BY-4.0" }),
  model("whisper-base", { title: "Whisper base (ONNX)", license: "Apache-2.0" }),
];

const names = (query) => search(MODELS, query).map(({ name }) => name);

test("nothing asked for is everything, in its order", () => {
  assert.deepEqual(
    names("  "),
    MODELS.map(({ name }) => name),
  );
});

test("a name that begins so comes first", () => {
  assert.deepEqual(names("whisper"), ["whisper-base", "faster-whisper-base"]);
});

test("every word must be there, in any order and case", () => {
  assert.deepEqual(names("ONNX whisper"), ["whisper-base"]);
  assert.deepEqual(names("whisper tts"), []);
});

test("aliases, licenses and words with accents are found", () => {
  assert.deepEqual(names("int8"), ["tts-models"]);
  assert.deepEqual(names("cc-by"), ["tts-models"]);
  assert.deepEqual(names("cafe"), ["tts-models"]);
});

test("what would be a pattern is text", () => {
  assert.deepEqual(names("(onnx)"), ["whisper-base"]);
  assert.deepEqual(names(".*"), []);
});
