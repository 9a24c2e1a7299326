import assert from "node:assert/strict";
import { test } from "node:test";

import { grouped } from "../static/groups.js";

const model = (name, title = "") => ({ name, title, homepage: "" });

test("models are grouped by what they are for, and those that are here come first", () => {
  const models = [
    model("all-minilm-l6-v2-onnx"),
    model("bge-small", "BGE small English (sentence-transformers)"),
    model("clip-vit-b-32", "OpenAI CLIP"),
    model("ggml-silero-vad", "Silero VAD for whisper.cpp"),
    model("mystery"),
    { ...model("qwen3-0.6b-q8_0", "Qwen3 (GGUF)"), homepage: "https://huggingface.co/Qwen/Qwen3" },
    model("whisper-base"),
    model("whisper-tiny"),
  ];
  const groups = grouped(models, ({ name }) => name === "whisper-tiny");
  assert.deepEqual(
    groups.map(({ name, models: found }) => [name, found.map((each) => each.name)]),
    [
      ["On this computer", ["whisper-tiny"]],
      ["Speech and sound", ["ggml-silero-vad", "whisper-base"]],
      ["Search and embeddings", ["all-minilm-l6-v2-onnx", "bge-small"]],
      ["Pictures", ["clip-vit-b-32"]],
      ["Text", ["qwen3-0.6b-q8_0"]],
      ["Others", ["mystery"]],
    ],
  );
});

test("a task that is stated decides, whatever the words are", () => {
  const models = [
    { ...model("a"), task: "audio" },
    { ...model("b"), task: "embedding" },
    { ...model("c"), task: "other" },
    { ...model("d"), task: "speech" },
    { ...model("e"), task: "text" },
    { ...model("f"), task: "of a later version" },
    { ...model("whisper"), task: "vision" },
  ];
  assert.deepEqual(
    grouped(models, () => false).map(({ name, models: found }) => [name, found.map((each) => each.name)]),
    [
      ["Speech and sound", ["a", "d"]],
      ["Search and embeddings", ["b"]],
      ["Pictures", ["whisper"]],
      ["Text", ["e"]],
      ["Others", ["c", "f"]],
    ],
  );
});

test("nothing makes no groups", () => assert.deepEqual(grouped([], () => false), []));
