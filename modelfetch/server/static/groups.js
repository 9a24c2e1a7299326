/** Into which groups the catalog is put, so that fifty rows can be read. Pure. */

/**
 * What a model is for, by words in its name, title and homepage: manifests do not say it. The first that fits counts,
 * so what is rarer stands before what is in many names.
 */
const TOPICS = [
  ["Speech and sound", /whisper|speech|voice|\btts|tts\b|\basr\b|\bvad\b|vosk|piper|kokoro|demucs|audio|bark/],
  ["Search and embeddings", /embed|minilm|\bbge\b|\be5\b|\bgte\b|sentence-transformers|rerank|cross-encoder|colbert/],
  ["Pictures", /\bvit\b|clip\b|yolo|face|ocr|mnist|mobilenet|resnet|segment|\bsam\b|esrgan|rembg|u2net|tess|diffusion|flux|vision|image/],
  ["Text", /gguf|llama|qwen|smollm|mistral|gemma|phi-|instruct|chat|gpt|stories|bert|fasttext|language|text/],
];

const OTHERS = "Others";
const HERE = "On this computer";

/**
 * Group models: what is here or on its way first, then by what they are for.
 * @param {object[]} models in their order
 * @param {(model: object) => boolean} isHere
 * @returns {{name: string, models: object[]}[]} without empty ones
 */
export function grouped(models, isHere) {
  const names = [HERE, ...TOPICS.map(([name]) => name), OTHERS];
  const groups = new Map(names.map((name) => [name, []]));
  for (const model of models) groups.get(isHere(model) ? HERE : topic(model)).push(model);
  return [...groups].map(([name, found]) => ({ name, models: found })).filter(({ models: all }) => all.length);
}

function topic({ name, title = "", homepage = "" }) {
  const words = `${name} ${title} ${homepage}`.toLowerCase().replace("huggingface", "");
  return TOPICS.find(([, pattern]) => pattern.test(words))?.[0] ?? OTHERS;
}
