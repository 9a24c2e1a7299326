/** One model in full, in a dialog: what it is, its license, sources and files, and what can be done with it. */

import { formatSize, plural } from "../format.js";
import { copyText, h, outsideLink, setText } from "../dom.js";
import { icon } from "../icons.js";
import { standing } from "../store.js";
import { entryName, kindName, licenseWarning, upstreamAdvice, upstreamState } from "../words.js";
import { nameContents, pinContents } from "./add.js";
import { button } from "./button.js";

/** More lines than this are counted only. */
const LIMIT = 200;

const STANDINGS = {
  present: "Installed and verified",
  active: "In progress",
  starting: "Starting…",
  absent: "Not on this computer",
};

/**
 * The dialog for one model.
 * @param {HTMLDialogElement} dialog
 * @param {object} actions see actions.js
 */
export function modelDialog(dialog, actions) {
  const close = () => dialog.close();
  dialog.addEventListener("click", (event) => event.target === dialog && close());

  /** Show a dialog with these contents; its heading names it. */
  function open(title, ...contents) {
    const heading = h("h2", { id: "dialog-title", text: title, tabindex: -1 });
    const cross = h(
      "button.button.quiet.icon-only",
      { type: "button", "aria-label": "Close", onClick: close },
      icon("cross"),
    );
    dialog.replaceChildren(h("div.dialog-head", {}, heading, cross), ...contents);
    if (!dialog.open) dialog.showModal();
    return heading;
  }

  /** Ask a question; the focus is on the harmless answer. */
  function confirm(title, words, { words: verb, icon: name, look, action }) {
    const stop = button("Cancel", { look: "quiet", onClick: close });
    const go = button(verb, { icon: name, look, onClick: () => (close(), action()) });
    open(title, h("p", { text: words }), row(stop.element, go.element));
    stop.element.focus();
  }

  return {
    /** Show everything known of a model; `model.files` is a list. */
    details(model, state) {
      const heading = open(
        model.title || model.name,
        facts(model, state),
        license(model),
        choices(model, state),
        sources(model),
        files(model),
      );
      heading.focus();
    },
    /** Show what a reference would be pinned as, before it is added. */
    pin(asked, found) {
      const { title, contents } = pinContents(asked, found, actions, close);
      open(title, ...contents).focus();
    },
    /** Ask for another name. */
    rename(asked, error) {
      const { title, contents } = nameContents(asked, error, actions, close);
      open(title, ...contents);
      dialog.querySelector("input").focus();
    },
    /** Ask before the bytes of a model are removed. */
    askRemove(model) {
      const words = `${formatSize(model.size)} in ${plural(model.files.length ?? model.files, "file")}, of all versions. It stays in the catalog and can be installed again.`;
      const go = { words: "Remove", icon: "trash", look: "danger", action: () => actions.remove(model.name) };
      confirm(`Remove ${model.title || model.name}?`, words, go);
    },
    /** Ask before data that failed verification goes back to where it was. */
    askRestore(entry) {
      const words = `It goes back to ${entry.path || "where it was"}. It was not verified: check it before you use it.`;
      const go = { words: "Restore", icon: "retry", look: "primary", action: () => actions.restore(entry) };
      confirm(`Restore ${entryName(entry)}?`, words, go);
    },
    /** Ask before data that failed verification is deleted. */
    askPurge(entry) {
      const size = entry.size === null ? "The entry" : `The entry and its data, ${formatSize(entry.size)},`;
      const go = { words: "Delete", icon: "trash", look: "danger", action: () => actions.purge(entry) };
      confirm(`Delete ${entryName(entry)} from quarantine?`, `${size} will be deleted. No model uses it.`, go);
    },
    /** Ask before a model is installed. */
    ask(model) {
      const question = `${formatSize(model.size)}, ${plural(model.files.length ?? model.files, "file")}.`;
      const go = button("Install", { icon: "download", look: "primary", onClick: () => agree() });
      const stop = button("Cancel", { look: "quiet", onClick: close });
      const agree = () => {
        close();
        actions.start(model.name);
      };
      open(
        `Install ${model.title || model.name}?`,
        h("p", { text: question }),
        license(model),
        row(stop.element, go.element),
      );
      go.element.focus();
    },
  };

  function choices(model, state) {
    const now = standing(state, model);
    const act = (words, name, look, action) =>
      button(words, { icon: name, look, onClick: () => (close(), action()) }).element;
    if (now === "present") {
      return row(
        act("Remove", "trash", "quiet", () => actions.askRemove(model)),
        act("Verify", "shield", "", () => actions.verify(model.name, false)),
        act("Repair", "wrench", "", () => actions.verify(model.name, true)),
      );
    }
    if (now === "active" || now === "starting") return "";
    const verb = now === "partial" ? "Resume" : "Install";
    const remove = () => act("Remove", "trash", "quiet", () => actions.askRemove(model));
    return row(
      now === "partial" ? remove() : "",
      act(verb, "download", "primary", () => actions.install(model.name)),
    );
  }
}

const row = (...children) => h("div.dialog-actions", {}, ...children);

function facts(model, state) {
  const now = standing(state, model);
  const held = `${formatSize(model.partial)} of ${formatSize(model.size)} are present`;
  const all = [
    ["State", now === "partial" ? held : STANDINGS[now]],
    ["Name", model.name],
    ["Also called", model.aliases.join(", ")],
    ["Version", model.version],
    ["Kind", model.kind],
    ["Task", model.task],
    ["Format", model.format],
    ["License", model.license],
    ["Size", `${formatSize(model.size)} (${model.size.toLocaleString("en")} bytes)`],
    ["Catalog", model.catalog],
    [model.present ? "Directory" : "Will be in", copyable(model.path)],
    ["Homepage", model.homepage && outsideLink(model.homepage, model.homepage)],
    ["Identity", h("code.digest", { text: model.identity })],
    ["Upstream", model.upstream?.ref],
    ["Upstream state", upstream(model)],
  ];
  const lines = all
    .filter(([, value]) => value)
    .map(([name, value]) => h("div", {}, h("dt", { text: name }), h("dd", {}, value)));
  return h("dl.facts", {}, ...lines);
}

/** A text with a button that copies it. */
function copyable(text) {
  const element = h("span.copyable-text", { text });
  const copy = button("Copy", { icon: "copy", look: "small", onClick: () => copied() });
  const copied = async () => setText(copy.element.lastChild, (await copyText(element)) ? "Copied" : "Selected");
  copy.element.setAttribute("aria-label", "Copy the path");
  return h("span.copyable", {}, element, copy.element);
}

function upstream(model) {
  const words = upstreamState(model, Date.now());
  if (!words) return "";
  const advice = upstreamAdvice(model);
  return h(
    "span",
    { "data-upstream": model.upstream.state },
    words,
    advice ? h("code.advice", { text: advice }) : null,
  );
}

/** Where the files may come from, in the order in which the sources are tried. */
function sources(model) {
  if (!model.sources?.length) return "";
  const lines = model.sources.map(({ kind, name }) =>
    h("li", {}, h("span.source-kind", { text: kindName(kind) }), h("span.source-name", { text: name })),
  );
  return h("section.dialog-sources", {}, h("h3", { text: "Sources, in order" }), h("ol", {}, ...lines));
}

function license(model) {
  const warning = licenseWarning(model);
  if (!warning) return "";
  return h(
    "div.license.license-warning",
    { role: "note", "aria-label": "About the license" },
    h("h3", { text: model.license || "No license stated" }),
    h("p", { text: warning }),
    model.homepage ? h("p", {}, "Read the terms at ", outsideLink(model.homepage, model.homepage)) : "",
  );
}

const FILE_STATES = { kept: "present", partial: "partial", missing: "missing" };

function files(model) {
  const rows = model.files
    .slice(0, LIMIT)
    .map((file) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, file.file, h("code.digest", { text: file.sha256, title: "SHA-256" })),
        h("td", { text: formatSize(file.size) }),
        h("td", { text: FILE_STATES[file.state] ?? file.state }),
      ),
    );
  const hidden = model.files.length - rows.length;
  return h(
    "section.dialog-files",
    {},
    h("h3", { text: plural(model.files.length, "file") }),
    h("table", {}, head("File", "Size", "State"), h("tbody", {}, ...rows)),
    hidden > 0 ? h("p", { text: `and ${plural(hidden, "more file")}` }) : "",
  );
}

const head = (...names) =>
  h("thead", {}, h("tr", {}, ...names.map((text) => h("th", { scope: "col", text }))));
