import assert from "node:assert/strict";
import { test } from "node:test";

import { search, stated } from "../static/search.js";

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

test("task and format are found, and a model may have neither", () => {
  const models = [model("a", { task: "speech", format: "gguf" }), model("b", { task: null })];
  assert.deepEqual(search(models, "gguf speech"), [models[0]]);
  assert.deepEqual(search(models, "null"), []);
});

test("what models state is counted, by the alphabet", () => {
  const models = ["text", "audio", null, "text"].map((task, n) => model(`m${n}`, { task }));
  assert.deepEqual(stated(models, "task"), [
    ["audio", 1],
    ["text", 2],
  ]);
  assert.deepEqual(stated([], "task"), []);
});

test("what would be a pattern is text", () => {
  assert.deepEqual(names("(onnx)"), ["whisper-base"]);
  assert.deepEqual(names(".*"), []);
});
