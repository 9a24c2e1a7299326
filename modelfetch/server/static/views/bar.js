/** A progress bar: a track, and a fill that moves by transform. */

import { clampPercent } from "../format.js";
import { h, setAttribute } from "../dom.js";

/**
 * Make a bar.
 * @param {string} label what it is the progress of
 * @param {string} [size] a further class
 */
export function bar(label, size = "") {
  const fill = h("div.bar-fill");
  const element = h(
    "div.bar",
    { role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 },
    fill,
  );
  if (size) element.classList.add(size);
  return { element, update: (state) => update(element, fill, state) };
}

/**
 * @param {{percent: number | null, text: string, phase: string}} state percent null where it is unknown
 */
function update(element, fill, { percent, text, phase }) {
  const isKnown = percent !== null;
  const value = clampPercent(percent);
  setAttribute(element, "data-phase", phase);
  setAttribute(element, "data-unknown", !isKnown);
  setAttribute(element, "aria-valuenow", isKnown ? Math.floor(value) : null);
  setAttribute(element, "aria-valuetext", text);
  // Properties set through the CSSOM are no inline style in the sense of the content security policy.
  fill.style.transform = `translateX(${isKnown ? value - 100 : -100}%)`;
}
