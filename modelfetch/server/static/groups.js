/** Into which groups the catalog is put, so that fifty rows can be read. Pure. */

const SPEECH = "Speech and sound";
const SEARCH = "Search and embeddings";
const PICTURES = "Pictures";
const TEXT = "Text";
const OTHERS = "Others";
const HERE = "On this computer";

/** The group of each task that a manifest may state. */
const GROUPS = {
  speech: SPEECH,
  audio: SPEECH,
  embedding: SEARCH,
  vision: PICTURES,
  text: TEXT,
  other: OTHERS,
};

/**
 * For a manifest without a task: what a model is for, by words in its name, title and homepage. The first that fits
 * counts, so what is rarer stands before what is in many names.
 */
const WORDS = [
  [SPEECH, /whisper|speech|voice|\btts|tts\b|\basr\b|\bvad\b|vosk|piper|kokoro|demucs|audio|bark/],
  [SEARCH, /embed|minilm|\bbge\b|\be5\b|\bgte\b|sentence-transformers|rerank|cross-encoder|colbert/],
  [PICTURES, /\bvit\b|clip\b|yolo|face|ocr|mnist|mobilenet|resnet|segment|\bsam\b|esrgan|rembg|u2net|tess|diffusion|flux|vision|image/],
  [TEXT, /gguf|llama|qwen|smollm|mistral|gemma|phi-|instruct|chat|gpt|stories|bert|fasttext|language|text/],
];

/**
 * Group models: what is here or on its way first, then by what they are for.
 * @param {object[]} models in their order
 * @param {(model: object) => boolean} isHere
 * @returns {{name: string, models: object[]}[]} without empty ones
 */
export function grouped(models, isHere) {
  const names = [HERE, SPEECH, SEARCH, PICTURES, TEXT, OTHERS];
  const groups = new Map(names.map((name) => [name, []]));
  for (const model of models) groups.get(isHere(model) ? HERE : topic(model)).push(model);
  return [...groups].map(([name, found]) => ({ name, models: found })).filter(({ models: all }) => all.length);
}

function topic({ name, task, title = "", homepage = "" }) {
  if (task) return GROUPS[task] ?? OTHERS;
  const words = `${name} ${title} ${homepage}`.toLowerCase().replace("huggingface", "");
  return WORDS.find(([, pattern]) => pattern.test(words))?.[0] ?? OTHERS;
}
