/** How each source fared on this machine: a bar for its success, and its figures. */

import { formatAgo, formatDuration, formatRate, formatShare, plural } from "../format.js";
import { h, reconcile, setAttribute, setText, show } from "../dom.js";
import { hostName, kindName } from "../words.js";

/** Below these shares of success a source is doubtful, or bad. */
const GOOD = 0.9;
const POOR = 0.5;

/** Sources that are shown before the others are asked for: those that were asked most. */
const FEW = 5;

/**
 * The section of the sources.
 * @param {HTMLElement} root
 * @param {() => void} redraw
 */
export function sourcesView(root, redraw) {
  const list = root.querySelector(".sources");
  const none = root.querySelector(".none");
  const more = root.querySelector(".show-more");
  let isWhole = false;
  more.addEventListener("click", () => {
    isWhole = true;
    redraw();
  });
  return (state, now) => {
    const sources = state.sources ?? [];
    const shown = isWhole ? sources : sources.slice(0, FEW);
    show(none, state.sources !== null && sources.length === 0);
    reconcile(
      list,
      shown.map((health) => ({ health, now })),
      ({ health }) => `${health.source} ${health.host}`,
      line,
    );
    show(more, shown.length < sources.length);
    setText(more, `Show all ${sources.length} sources`);
  };
}

function line() {
  const fill = h("div.meter-fill");
  const parts = { kind: h("span.source-kind"), host: h("span.source-host"), share: h("span.source-share") };
  const figures = h("p.source-figures");
  const meter = h("div.meter", { "aria-hidden": "true" }, fill);
  const reason = h("p.source-reason");
  const element = h("li.source", {}, parts.kind, parts.host, parts.share, meter, figures, reason);
  return {
    element,
    update({ health, now }) {
      const success = health.success ?? 0;
      setText(parts.kind, kindName(health.source));
      setText(parts.host, hostName(health));
      setText(parts.share, health.success === null ? "unknown" : `${formatShare(success)} ok`);
      setText(figures, words(health));
      setText(reason, lastReason(health, now));
      show(reason, Boolean(health.last_failure));
      setAttribute(element, "data-health", success >= GOOD ? "good" : success >= POOR ? "doubtful" : "bad");
      fill.style.transform = `translateX(${100 * success - 100}%)`;
    },
  };
}

function words({ speed, first_byte: firstByte, stalls }) {
  return [
    speed !== null && formatRate(speed),
    firstByte !== null && `first byte ${latency(firstByte)}`,
    stalls > 0 && plural(stalls, "stall"),
  ]
    .filter(Boolean)
    .join(" · ");
}

/** Why it failed last, and when. */
function lastReason({ last_failure: failure }, now) {
  return failure ? `Last failure ${formatAgo(failure.at, now)}: ${failure.message || failure.fault}` : "";
}

const latency = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1000)} ms` : formatDuration(seconds));
