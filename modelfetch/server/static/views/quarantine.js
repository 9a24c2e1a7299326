/** Data that failed verification: what was expected, what arrived, and from where. Hidden if there is none. */

import { formatAgo, formatSize, formatWhen, plural } from "../format.js";
import { h, reconcile, setAttribute, setText, show } from "../dom.js";
import { entryName, entryReason, isRestorable, shortDigest } from "../words.js";
import { button } from "./button.js";

/** Entries that are shown; more of them are counted only. */
const LIMIT = 50;

/**
 * The section of the quarantine.
 * @param {HTMLElement} root
 * @param {object} actions see actions.js
 */
export function quarantineView(root, actions) {
  const list = root.querySelector(".entries");
  const count = root.querySelector(".count");
  const more = root.querySelector(".more-entries");
  return (state, now) => {
    const entries = state.quarantine;
    const hidden = Math.max(0, entries.length - LIMIT);
    show(root, entries.length > 0);
    setText(count, plural(entries.length, "file"));
    setText(more, `and ${plural(hidden, "newer file")}, which “modelfetch quarantine list” shows`);
    show(more, hidden > 0);
    reconcile(
      list,
      entries.slice(0, LIMIT).map((entry) => ({ entry, now, isBusy: Boolean(state.pending[`entry ${entry.id}`]) })),
      // The directory names an entry; two of the same file may exist for a moment.
      ({ entry }) => entry.directory,
      ({ entry }) => line(entry, actions),
    );
  };
}

function line(entry, actions) {
  const when = h("time.entry-when");
  const name = entryName(entry);
  const buttons = {
    restore: button("Restore", { icon: "retry", look: "small", onClick: () => actions.askRestore(entry) }),
    remove: button("Delete", { icon: "trash", look: "small", onClick: () => actions.askPurge(entry) }),
  };
  const element = h(
    "li.entry",
    { "data-entry": entry.id },
    h("h3.entry-name", { text: name, title: entry.path || null }),
    h("p.entry-reason", { text: entryReason(entry) }),
    digests(entry),
    h("p.entry-facts", {}, `${entry.size === null ? "no data" : formatSize(entry.size)} · `, when),
    h("div.entry-actions", {}, buttons.restore.element, buttons.remove.element),
  );
  return {
    element,
    update({ entry: { at }, now, isBusy }) {
      setText(when, formatAgo(at, now));
      setAttribute(when, "datetime", at);
      setAttribute(when, "title", formatWhen(at, now));
      buttons.restore.update({ words: "Restore", label: `Restore ${name}`, isBusy, isShown: isRestorable(entry) });
      buttons.remove.update({ words: "Delete", label: `Delete ${name}`, isBusy });
    },
  };
}

function digests({ expected, actual }) {
  const lines = [
    ["Expected", expected],
    ["Actual", actual],
  ].filter(([, digest]) => digest);
  return h(
    "dl.entry-digests",
    {},
    ...lines.map(([word, digest]) =>
      h("div", {}, h("dt", { text: word }), h("dd", {}, h("code", { text: shortDigest(digest), title: digest }))),
    ),
  );
}
