/**
 * Where the bytes of a file came from: its parts, the colours of their sources, and their amounts. Pure.
 *
 * A part is `[start, end, "kind host"]`, in bytes. A source has the colour of its kind; several hosts of one kind have
 * shades of it.
 */

/** Kinds with a colour of their own; the others, of later versions, share one. */
const KINDS = new Set(["cache", "local", "peer", "swarm", "mirror", "ipfs", "huggingface", "modelscope", "oci", "url"]);

/** Shades of one colour; further hosts begin again. */
const SHADES = 3;

/** Share of a strip, in percent, that can still be seen. */
const VISIBLE = 0.4;

/** The source that a label names. */
export function sourceOf(label) {
  const [source, ...rest] = label.split(" ");
  // "cache chunks" are chunks of files in this cache.
  return { source, host: source === "cache" ? "" : rest.join(" ") };
}

/** What tells sources apart. */
export function keyOf({ source, host }) {
  return `${source} ${host}`.trim();
}


/** The bytes of each source among some parts, the largest first. */
export function amounts(parts) {
  const found = new Map();
  for (const [start, end, label] of parts) {
    const source = sourceOf(label);
    const key = keyOf(source);
    found.set(key, { ...source, received: (found.get(key)?.received ?? 0) + end - start });
  }
  return [...found.values()].sort((a, b) => b.received - a.received);
}

/**
 * The CSS classes of each source: its colour and its shade.
 * @param {{source: string, host: string}[]} sources all that are shown; they may occur several times
 * @returns {(source: {source: string, host: string}) => string[]}
 */
export function looks(sources) {
  const hosts = new Map();
  for (const { source, host } of sources) {
    const known = hosts.get(source) ?? [];
    if (!known.includes(host)) hosts.set(source, [...known, host].sort());
  }
  return ({ source, host }) => {
    const shade = Math.max(0, (hosts.get(source) ?? []).indexOf(host)) % SHADES;
    return [`source-${KINDS.has(source) ? source : "other"}`, `shade-${shade}`];
  };
}

/**
 * The coloured ranges of a strip, in percent of the file; neighbours of one source are one.
 * @param {[number, number, string][]} parts
 * @param {number} size bytes of the file
 */
export function ranges(parts, size) {
  const found = [];
  for (const [start, end, label] of parts) {
    const source = sourceOf(label);
    const last = found.at(-1);
    if (last && last.end === start && keyOf(last.source) === keyOf(source)) last.end = end;
    else found.push({ start, end, source });
  }
  return found.map(({ start, end, source }) => ({
    key: String(start),
    source,
    left: percentOf(start, size),
    width: Math.max(VISIBLE, percentOf(end - start, size)),
  }));
}

/** The same for amounts: one range for each source, one after the other, in an order that does not change. */
export function shares(sources, size) {
  let position = 0;
  const ordered = [...sources].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  const parts = ordered.map((each) => [position, (position += each.received), keyOf(each)]);
  return ranges(parts, size).map((range) => ({ ...range, key: keyOf(range.source) }));
}

const percentOf = (bytes, size) => (size ? Math.min(100, (100 * bytes) / size) : 0);
