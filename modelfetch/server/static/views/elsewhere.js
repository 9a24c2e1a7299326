/** A run of another process, such as one in a terminal: to be looked at, not to be touched. */

import { formatPercent, formatSize } from "../format.js";
import { h, setText, show } from "../dom.js";
import { icon } from "../icons.js";
import { bar } from "./bar.js";

/** The card of a run. */
export function elsewhereCard(run) {
  const name = run.title || run.model;
  const parts = {
    facts: h("p.job-facts"),
    percent: h("p.job-percent"),
    size: h("p.job-figures"),
    bar: bar(`Download of ${name}`),
  };
  const facts = h("div.job-heading", {}, h("h3", { text: name }), parts.facts);
  const sign = h("span.phase-icon", {}, icon("terminal"));
  const element = h(
    "li.job.job-elsewhere",
    { "data-model": run.model, "data-phase": "fetching" },
    h("div.job-head", {}, sign, facts, parts.percent),
    parts.bar.element,
    parts.size,
  );
  return { element, update: ({ run: now }) => update(now, parts) };
}

function update({ holder, received, size, title, model }, { facts, percent, size: figures, bar: progress }) {
  const share = size ? (100 * received) / size : null;
  // Another server's job says so itself.
  const where = holder.startsWith("process") ? `On the command line: ${holder}` : holder;
  setText(facts, [where, title ? model : ""].filter(Boolean).join(" · "));
  setText(percent, share === null ? "" : formatPercent(Math.min(share, 99.9)));
  setText(figures, size ? `${formatSize(received)} / ${formatSize(size)}` : "");
  show(figures, size > 0);
  progress.update({ percent: share, text: figures.textContent, phase: "fetching" });
}
