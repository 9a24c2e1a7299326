/** A strip in the colours of the sources, and the legend that names them. */

import { formatSize } from "../format.js";
import { h, reconcile, setText, show } from "../dom.js";
import { keyOf } from "../parts.js";
import { sourceName } from "../words.js";

/**
 * Make the strip inside a bar. The bar itself says in words what the colours show.
 * @param {HTMLElement} track
 */
export function strip(track) {
  const element = h("div.strip", { "aria-hidden": "true" });
  track.append(element);
  return {
    /**
     * @param {{key: string, source: object, left: number, width: number}[]} ranges in percent; kept by key, and moved
     * @param {(source: object) => string[]} look
     */
    update(ranges, look) {
      show(element, ranges.length > 0);
      const items = ranges.map((range) => ({ ...range, look: look(range.source) }));
      reconcile(element, items, ({ key }) => key, part);
    },
  };
}

function part() {
  const element = h("div");
  return {
    element,
    update({ left, width, look }) {
      setClasses(element, ["strip-part", ...look]);
      // Properties set through the CSSOM are no inline style in the sense of the content security policy.
      element.style.left = `${left}%`;
      element.style.width = `${width}%`;
    },
  };
}

/** The sources of some bytes by name and amount, each with its colour. */
export function legend() {
  const element = h("ul.legend", { role: "list", "aria-label": "Where the bytes came from" });
  return {
    element,
    update(sources, look) {
      show(element, sources.length > 0);
      reconcile(
        element,
        sources.map((source) => ({ source, look: look(source) })),
        ({ source }) => keyOf(source),
        entry,
      );
    },
  };
}

function entry() {
  const dot = h("span", { "aria-hidden": "true" });
  const name = h("span.legend-name");
  const size = h("span.legend-size");
  return {
    element: h("li", {}, dot, name, " ", size),
    update({ source, look }) {
      setClasses(dot, ["legend-dot", ...look]);
      setText(name, sourceName(source));
      setText(size, formatSize(source.received));
    },
  };
}

function setClasses(element, classes) {
  const wanted = classes.join(" ");
  if (element.className !== wanted) element.className = wanted;
}
