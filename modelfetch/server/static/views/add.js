/** The field that takes a reference, and the dialog that shows what would be pinned before it is added. */

import { formatSize, plural } from "../format.js";
import { h, outsideLink, setText, show } from "../dom.js";
import { licenseWarning, statedBy, takenName } from "../words.js";
import { button } from "./button.js";

/** More files than this are counted only. */
const LIMIT = 200;

/**
 * The field below the search; hidden where the server adds no models.
 * @param {HTMLFormElement} form
 * @param {object} actions see actions.js
 */
export function addView(form, actions) {
  const input = form.querySelector("input");
  const submit = form.querySelector("button");
  const note = form.querySelector("[role=status]");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const reference = input.value.trim();
    if (submit.getAttribute("aria-disabled")) return;
    if (reference) actions.lookUp({ reference });
    else input.focus();
  });
  return (state) => {
    const isBusy = Boolean(state.pending["look up"]);
    show(form, Boolean(state.status?.can_add));
    setText(submit, isBusy ? "Looking up…" : "Look up");
    submit.toggleAttribute("aria-disabled", isBusy);
    setText(note, isBusy ? "Asking the hub for files and digests…" : "");
  };
}

/**
 * The contents of the dialog for one answer of the server.
 * @param {object} asked what was sent: reference, and perhaps name and include
 * @param {object} found the answer
 * @param {object} actions see actions.js
 * @param {() => void} close
 * @returns {{title: string, contents: Node[]}}
 */
export function pinContents(asked, found, actions, close) {
  if (found.variants) return variants(asked, found, actions, close);
  const row = found.known ? known(found, actions, close) : choices(asked, found, actions, close);
  const title = found.known ? `${found.name} is in the catalog already` : `Add ${found.name}?`;
  const contents = [facts(found), notices(found), license(found), files(found), row];
  return { title, contents: contents.filter(Boolean) };
}

/** The contents of the dialog where the name is taken. */
export function nameContents(asked, error, actions, close) {
  const input = h("input.field", { id: "pin-name", type: "text", spellcheck: "false", autocomplete: "off" });
  input.value = takenName(error);
  const again = (event) => {
    event.preventDefault();
    const name = input.value.trim();
    if (!name) return;
    close();
    actions.lookUp({ ...asked, name });
  };
  const form = h(
    "form.ask-name",
    { onSubmit: again },
    h("label", { for: "pin-name", text: "Another name for it" }),
    input,
    h("div.dialog-actions", {}, h("button.button.primary", { type: "submit", text: "Look up" })),
  );
  return { title: "Choose another name", contents: [h("p", { text: error.message }), form] };
}

function facts(found) {
  const stated = found.files.filter((file) => file.stated_by.length).length;
  const digests = [
    stated && `${plural(stated, "file")} stated by ${statedBy(found.files)}`,
    found.files.length - stated && `${plural(found.files.length - stated, "file")} computed here`,
  ];
  const all = [
    ["Reference", found.reference],
    ["Version", found.version],
    ["Size", `${formatSize(found.size)} in ${plural(found.files.length, "file")}`],
    ["License", found.license || "not stated"],
    ["Digests", found.known ? "" : digests.filter(Boolean).join(", ")],
    ["Homepage", found.homepage && outsideLink(found.homepage, found.homepage)],
  ];
  const lines = all
    .filter(([, value]) => value)
    .map(([name, value]) => h("div", {}, h("dt", { text: name }), h("dd", {}, value)));
  return h("dl.facts", {}, ...lines);
}

function notices(found) {
  if (!found.notices.length) return null;
  return h("ul.pin-notices", {}, ...found.notices.map((text) => h("li", { text })));
}

function license(found) {
  const warning = licenseWarning(found);
  if (!warning || found.known) return null;
  return h("div.license.license-warning", { role: "note" }, h("p", { text: warning }));
}

function files(found) {
  const rows = found.files
    .slice(0, LIMIT)
    .map((file) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, file.path, h("code.digest", { text: file.sha256 })),
        h("td", { text: formatSize(file.size) }),
        found.known ? null : h("td", { text: file.stated_by.length ? "stated" : "computed" }),
      ),
    );
  const hidden = found.files.length - rows.length;
  return h(
    "section.dialog-files",
    {},
    h("h3", { text: plural(found.files.length, "file") }),
    h("table", {}, h("tbody", {}, ...rows)),
    hidden > 0 ? h("p", { text: `and ${plural(hidden, "more file")}` }) : null,
  );
}

function choices(asked, found, actions, close) {
  const add = (isInstalled) => () => {
    close();
    document.getElementById("reference").value = "";
    actions.add(asked, isInstalled);
  };
  return h(
    "div.dialog-actions",
    {},
    button("Cancel", { look: "quiet", onClick: close }).element,
    button("Add", { onClick: add(false) }).element,
    button("Add and install", { icon: "download", look: "primary", onClick: add(true) }).element,
  );
}

function known(found, actions, close) {
  const open = () => {
    close();
    actions.open(found.name);
  };
  return h("div.dialog-actions", {}, button("Show it", { look: "primary", onClick: open }).element);
}

function variants(asked, found, actions, close) {
  const rows = found.variants.map(({ label, include, files: count, size }) => {
    const figures = [size === null ? "size unknown" : formatSize(size), count > 1 && plural(count, "part")];
    const choose = () => {
      close();
      actions.lookUp({ ...asked, include: [include] });
    };
    return h(
      "li",
      {},
      h("button.variant", { type: "button", onClick: choose }, h("strong", { text: label }), h("span", {
        text: figures.filter(Boolean).join(" · "),
      })),
    );
  });
  const words = `${found.reference} has the same weights in several precisions. Choose one; the smallest comes first.`;
  return {
    title: "Which variant?",
    contents: [h("p", { text: words }), h("ul.variants", { role: "list" }, ...rows)],
  };
}
