/** Which models of the catalog to list. Pure. */

/**
 * The models that have every word of a query, the best first; without a query all of them in their order.
 * @param {object[]} models
 * @param {string} query
 */
export function search(models, query) {
  const words = fold(query).split(/\s+/).filter(Boolean);
  return models
    .map((model) => ({ model, rank: rank(model, words) }))
    .filter(({ rank }) => rank !== null)
    .sort((a, b) => a.rank - b.rank)
    .map(({ model }) => model);
}

/** 0 where a name begins with the first word, 1 where a name or title has all words, 2 elsewhere, else null. */
function rank(model, words) {
  if (words.length === 0) return 0;
  const names = fold([model.name, model.title, ...model.aliases].join(" "));
  const all = `${names} ${fold(facts(model))}`;
  if (!words.every((word) => all.includes(word))) return null;
  if (fold(model.name).startsWith(words[0])) return 0;
  return words.every((word) => names.includes(word)) ? 1 : 2;
}

function facts({ license, kind, task, format, homepage, catalog }) {
  return [license, kind, task, format, homepage, catalog].filter(Boolean).join(" ");
}

/**
 * What some models state for a key such as `task`, and how many do.
 * @param {object[]} models
 * @param {string} key
 * @returns {[string, number][]} by the alphabet
 */
export function stated(models, key) {
  const counts = new Map();
  for (const { [key]: value } of models) if (value) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Case and accents make no difference. */
function fold(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}
