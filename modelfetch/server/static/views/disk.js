/** What the cache takes of the disk. */

import { formatSize } from "../format.js";
import { h, reconcile, setText, show } from "../dom.js";

const PARTS = [
  ["blobs", "Models"],
  ["partial", "Unfinished downloads"],
  ["quarantine", "Quarantine"],
];

/** The section of the disk. */
export function diskView(root) {
  const total = root.querySelector(".disk-total");
  const free = root.querySelector(".disk-free");
  const track = root.querySelector(".disk-bar");
  const list = root.querySelector(".disk-parts");
  const notice = root.querySelector(".notice");
  return (state) => {
    const { disk, history_notice: words = "" } = state.status ?? {};
    setText(notice, words);
    show(notice, Boolean(words));
    if (!disk) return;
    const parts = split(disk);
    setText(total, formatSize(disk.used));
    setText(free, disk.free === null ? "" : `${formatSize(disk.free)} free`);
    reconcile(track, parts, ({ name }) => name, segment);
    reconcile(list, parts, ({ name }) => name, line);
  };
}

function split(disk) {
  const known = PARTS.map(([name, words]) => ({ name, words, size: disk[name] }));
  const other = disk.used - known.reduce((sum, { size }) => sum + size, 0);
  const all = [...known, { name: "other", words: "Other", size: Math.max(0, other) }];
  return all
    .filter(({ name, size }) => size > 0 || name === "blobs")
    .map((part) => ({ ...part, share: disk.used ? part.size / disk.used : 0 }));
}

function segment({ name }) {
  const element = h(`div.disk-segment.disk-${name}`);
  return {
    element,
    update: ({ share }) => {
      element.style.flexGrow = share.toFixed(4);
      show(element, share > 0);
    },
  };
}

function line({ name }) {
  const words = h("span");
  const size = h("span.disk-size");
  return {
    element: h("li", {}, h(`span.disk-dot.disk-${name}`), words, size),
    update(part) {
      setText(words, part.words);
      setText(size, formatSize(part.size));
    },
  };
}
