/** A progress bar: a track with a fill that moves by transform, or with a strip in the colours of the sources. */

import { clampPercent } from "../format.js";
import { h, setAttribute } from "../dom.js";
import { strip } from "./strip.js";

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
  const colours = strip(element);
  return {
    element,
    /**
     * @param {{percent: number | null, text: string, phase: string}} state percent null where it is unknown
     * @param {object[]} [ranges] see parts.js; without any, the bar has one colour
     * @param {(source: object) => string[]} [look]
     */
    update(state, ranges = [], look = () => []) {
      update(element, fill, state);
      setAttribute(element, "data-sources", ranges.length > 0);
      colours.update(ranges, look);
    },
  };
}

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
