/** How each source fared on this machine: a bar for its success, and its figures. */

import { formatDuration, formatRate, formatShare } from "../format.js";
import { h, reconcile, setAttribute, setText, show } from "../dom.js";
import { kindName } from "../words.js";

/** Below these shares of success a source is doubtful, or bad. */
const GOOD = 0.9;
const POOR = 0.5;

/** The section of the sources. */
export function sourcesView(root) {
  const list = root.querySelector(".sources");
  const none = root.querySelector(".none");
  return (state) => {
    const sources = state.sources ?? [];
    show(none, state.sources !== null && sources.length === 0);
    reconcile(list, sources, ({ source, host }) => `${source} ${host}`, line);
  };
}

function line() {
  const fill = h("div.meter-fill");
  const parts = { kind: h("span.source-kind"), host: h("span.source-host"), share: h("span.source-share") };
  const figures = h("p.source-figures");
  const meter = h("div.meter", { "aria-hidden": "true" }, fill);
  const element = h("li.source", {}, parts.kind, parts.host, parts.share, meter, figures);
  return {
    element,
    update(health) {
      const success = health.success ?? 0;
      setText(parts.kind, kindName(health.source));
      setText(parts.host, health.host);
      setText(parts.share, health.success === null ? "unknown" : `${formatShare(success)} ok`);
      setText(figures, words(health));
      setAttribute(element, "data-health", success >= GOOD ? "good" : success >= POOR ? "doubtful" : "bad");
      fill.style.transform = `translateX(${100 * success - 100}%)`;
    },
  };
}

function words({ speed, first_byte: firstByte, stalls }) {
  return [
    speed !== null && formatRate(speed),
    firstByte !== null && `first byte ${latency(firstByte)}`,
    stalls > 0.005 && `${formatShare(stalls)} stalled`,
  ]
    .filter(Boolean)
    .join(" · ");
}

const latency = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1000)} ms` : formatDuration(seconds));
