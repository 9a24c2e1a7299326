/** Buttons with an icon and words. */

import { h, setAttribute, setText, show } from "../dom.js";
import { icon } from "../icons.js";

/**
 * Make a button.
 * @param {string} words
 * @param {{icon?: string, look?: string, onClick: () => void}} options
 */
export function button(words, { icon: name = "", look = "", onClick }) {
  const label = h("span", { text: words });
  const press = () => element.getAttribute("aria-disabled") || onClick();
  const element = h("button.button", { type: "button", onClick: press }, name ? icon(name) : null, label);
  if (look) element.classList.add(look);
  return {
    element,
    /**
     * @param {{words?: string, label?: string | null, isBusy?: boolean, isShown?: boolean}} state
     *   a busy button keeps its place and its focus, but does nothing
     */
    update({ words: now = words, label: name = null, isBusy = false, isShown = true }) {
      setText(label, now);
      setAttribute(element, "aria-label", name);
      setAttribute(element, "aria-disabled", isBusy ? "true" : null);
      show(element, isShown);
    },
  };
}
