/** What is said beside the page: the polite live region, notices of errors, and the state of the connection. */

import { h, setAttribute, setText, show } from "../dom.js";
import { icon } from "../icons.js";

/** How long a notice without an error stays. */
const NOTICE_MS = 8_000;

/** Changes that come closer together than this are read out together. */
const GATHER_MS = 400;

/** Says changes of state to screen readers, a few at a time. */
export function announcer(region) {
  let waiting = new Map();
  let timer = 0;
  function speak() {
    timer = 0;
    region.replaceChildren(...[...waiting.values()].map((text) => h("p", { text })));
    waiting = new Map();
  }
  return (key, text) => {
    waiting.set(key, text);
    timer ||= setTimeout(speak, GATHER_MS);
  };
}

/** Notices in a corner of the page. */
export function notices(root) {
  return function notice(message, hint = "", isError = true) {
    const close = h(
      "button.button.quiet.icon-only",
      { type: "button", "aria-label": "Dismiss" },
      icon("cross"),
    );
    const words = h(
      "div.notice-words",
      {},
      h("p", { text: message }),
      hint ? h("p.hint", { text: hint }) : null,
    );
    const kind = isError ? "alert" : "status";
    const element = h(
      "div.toast",
      { role: kind, "data-kind": kind },
      icon(isError ? "alert" : "check"),
      words,
      close,
    );
    close.addEventListener("click", () => element.remove());
    if (!isError) setTimeout(() => element.remove(), NOTICE_MS);
    root.append(element);
    while (root.children.length > 3) root.firstChild.remove();
  };
}

const CONNECTION_WORDS = {
  connecting: "Connecting…",
  live: "Live",
  lost: "Connection lost, reconnecting…",
  resting: "Resting",
  denied: "Not connected",
};

/** The state of the connection, in the header. */
export function connectionView(root, retry) {
  const words = root.querySelector(".connection-words");
  const again = root.querySelector("button");
  again.addEventListener("click", retry);
  return ({ connection }) => {
    setAttribute(root, "data-phase", connection.phase);
    setText(words, CONNECTION_WORDS[connection.phase]);
    show(again, connection.phase === "lost");
  };
}
