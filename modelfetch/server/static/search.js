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
  const all = `${names} ${fold([model.license, model.kind, model.homepage, model.catalog].join(" "))}`;
  if (!words.every((word) => all.includes(word))) return null;
  if (fold(model.name).startsWith(words[0])) return 0;
  return words.every((word) => names.includes(word)) ? 1 : 2;
}

/** Case and accents make no difference. */
function fold(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}
