/** A button that opens and closes what stands below. */

import { h, setAttribute, setText, show } from "../dom.js";
import { icon } from "../icons.js";

/**
 * Make a closed one.
 * @param {string} id names what it opens, for screen readers
 * @param {Element} content
 * @param {(isOpen: boolean) => void} onToggle
 */
export function disclosure(id, content, onToggle) {
  const words = h("span");
  const opener = h("button.disclosure", { type: "button", "aria-controls": id }, icon("chevron"), words);
  const element = h("div.disclosed", { id }, content);
  const box = {
    button: opener,
    element,
    get isOpen() {
      return opener.getAttribute("aria-expanded") === "true";
    },
    toggle(isOpen) {
      setAttribute(opener, "aria-expanded", String(isOpen));
      show(element, isOpen);
      onToggle(isOpen);
    },
    label: (text) => setText(words, text),
  };
  opener.addEventListener("click", () => box.toggle(!box.isOpen));
  setAttribute(opener, "aria-expanded", "false");
  show(element, false);
  return box;
}
