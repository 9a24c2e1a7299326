/** Icons, drawn as SVG by DOM: 20 x 20, strokes in the colour of the text. */

import { svg } from "./dom.js";

const PATHS = {
  download: "M10 3v9.5m0 0 4-4m-4 4-4-4M3.5 16.5h13",
  check: "m4.5 10.5 3.8 3.8 7.2-8.3",
  cross: "m5.5 5.5 9 9m0-9-9 9",
  alert: "M10 6.2v4.6m0 2.9v.1M10 2.8a7.2 7.2 0 1 0 0 14.4 7.2 7.2 0 0 0 0-14.4Z",
  clock: "M10 5.8V10l2.8 1.8M10 2.8a7.2 7.2 0 1 0 0 14.4 7.2 7.2 0 0 0 0-14.4Z",
  pause: "M7.2 7.2h5.6v5.6H7.2zM10 2.8a7.2 7.2 0 1 0 0 14.4 7.2 7.2 0 0 0 0-14.4Z",
  retry: "M16.2 10a6.2 6.2 0 1 1-1.9-4.5M16.4 2.9v3.3h-3.3",
  search: "m16.5 16.5-3.7-3.7M8.8 3.5a5.3 5.3 0 1 0 0 10.6 5.3 5.3 0 0 0 0-10.6Z",
  lock: "M6.5 9V6.8a3.5 3.5 0 0 1 7 0V9m-8.2 0h9.4c.4 0 .8.4.8.8v6c0 .4-.4.8-.8.8H5.3a.8.8 0 0 1-.8-.8v-6c0-.4.4-.8.8-.8Z",
  shield: "M10 2.8 4 5v4.6c0 3.6 2.5 6.3 6 7.6 3.5-1.3 6-4 6-7.6V5l-6-2.2Zm-2.6 7.4 1.9 1.9 3.5-4",
  swap: "M4 7h11.2m0 0-2.9-2.9M15.2 7l-2.9 2.9M16 13H4.8m0 0 2.9 2.9M4.8 13l2.9-2.9",
  chevron: "m7.5 5 5 5-5 5",
  copy: "M7.5 7.5V4.3c0-.4.4-.8.8-.8h7.4c.4 0 .8.4.8.8v7.4c0 .4-.4.8-.8.8h-3.2M4.3 7.5h7.4c.4 0 .8.4.8.8v7.4c0 .4-.4.8-.8.8H4.3a.8.8 0 0 1-.8-.8V8.3c0-.4.4-.8.8-.8Z",
  trash:
    "M4 5.8h12M8.2 5.8V4c0-.4.3-.7.7-.7h2.2c.4 0 .7.3.7.7v1.8m2.7 0-.6 10c0 .4-.4.8-.8.8H6.9a.8.8 0 0 1-.8-.8l-.6-10",
  spinner: "M10 3.2a6.8 6.8 0 1 0 6.8 6.8",
  terminal: "m4.2 6.2 3.6 3.6-3.6 3.6M10 14.2h5.8",
  wrench:
    "M13.9 3.3a4 4 0 0 0-5.3 4.9l-5 5a1.6 1.6 0 0 0 0 2.3l.9.9a1.6 1.6 0 0 0 2.3 0l5-5a4 4 0 0 0 4.9-5.3l-2.4 2.4-2.3-.6-.6-2.3 2.5-2.3Z",
};

/**
 * An icon; what it means stands beside it in words, so it is hidden from screen readers.
 * @param {keyof PATHS} name
 */
export function icon(name) {
  return svg(
    "svg",
    { class: `icon icon-${name}`, viewBox: "0 0 20 20", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: PATHS[name] }),
  );
}

const PHASE_ICONS = {
  queued: "clock",
  planning: "spinner",
  waiting: "lock",
  fetching: "download",
  retrying: "retry",
  "falling back": "swap",
  verifying: "shield",
  done: "check",
  failed: "alert",
  cancelled: "pause",
};

/** The icon of a phase; an element that changes with the phase. */
export function phaseIcon() {
  const holder = document.createElement("span");
  holder.className = "phase-icon";
  let shown = null;
  return {
    element: holder,
    update(phase) {
      const name = PHASE_ICONS[phase] ?? "spinner";
      if (name === shown) return;
      shown = name;
      holder.replaceChildren(icon(name));
    },
  };
}
