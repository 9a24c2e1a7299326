/** The last runs: a chart of what they fetched and how fast, and a line for each. */

import { formatAgo, formatDuration, formatRate, formatSize, formatWhen } from "../format.js";
import { h, reconcile, setAttribute, setText, show, svg } from "../dom.js";
import { phaseIcon } from "../icons.js";
import { runReason } from "../words.js";

const LINES = 6;
const BARS = 30;

/** Pixels: the height of the chart, and the most from one column to the next. */
const HEIGHT = 96;
const STEP = 56;

const ENDS = { completed: "done", failed: "failed", cancelled: "cancelled" };

/** The section of the history. */
export function historyView(root) {
  const list = root.querySelector(".runs");
  const chart = root.querySelector(".chart");
  const key = root.querySelector(".chart-key");
  const none = root.querySelector(".none");
  let runs = [];
  let drawn = null;
  new ResizeObserver(() => drawChart(chart, key, runs)).observe(root);
  return (state, now) => {
    runs = state.runs ?? [];
    show(none, state.runs !== null && runs.length === 0);
    reconcile(
      list,
      runs.slice(0, LINES).map((run) => ({ run, now })),
      ({ run }) => run.run,
      line,
    );
    if (state.runs === drawn) return;
    drawn = state.runs;
    drawChart(chart, key, runs);
  };
}

function line() {
  const state = phaseIcon();
  const parts = {
    name: h("span.run-name"),
    what: h("span.run-what"),
    when: h("time.run-when"),
    reason: h("p.run-reason"),
  };
  const element = h("li.run", {}, state.element, ...Object.values(parts));
  return {
    element,
    update({ run, now }) {
      const phase = ENDS[run.outcome] ?? "fetching";
      state.update(phase);
      setAttribute(element, "data-phase", phase);
      setText(parts.name, run.models.join(", ") || "all models");
      setText(parts.what, outcome(run));
      setText(parts.when, formatWhen(run.finished_at ?? run.started_at, now));
      setAttribute(parts.when, "datetime", run.finished_at ?? run.started_at);
      setAttribute(parts.when, "title", formatAgo(run.finished_at ?? run.started_at, now));
      const reason = runReason(run);
      setText(parts.reason, reason);
      setAttribute(parts.reason, "title", reason || null);
      show(parts.reason, Boolean(reason));
    },
  };
}

function outcome(run) {
  if (!run.finished_at) return "under way";
  const did = run.operation === "verify" ? "verified" : "already present";
  if (run.outcome !== "completed") return run.outcome;
  return run.fetched ? `${formatSize(run.fetched)} in ${formatDuration(Math.max(1, seconds(run)))}` : did;
}

const seconds = (run) => Math.max(0, (Date.parse(run.finished_at) - Date.parse(run.started_at)) / 1000) || 0;

function drawChart(chart, key, runs) {
  const fetching = runs
    .filter((run) => run.fetched > 0 && run.finished_at)
    .slice(0, BARS)
    .reverse();
  show(chart, fetching.length > 1);
  show(key, fetching.length > 1);
  if (fetching.length < 2) return;
  const bytes = fetching.map((run) => run.fetched);
  const speeds = fetching.map((run) => run.fetched / Math.max(0.1, seconds(run)));
  const total = bytes.reduce((sum, each) => sum + each, 0);
  const most = Math.max(...speeds);
  setText(key.querySelector(".key-bytes"), `Fetched, ${formatSize(total)} in all`);
  setText(key.querySelector(".key-speed"), `Speed, up to ${formatRate(most)}`);
  setAttribute(
    chart,
    "aria-label",
    `The last ${fetching.length} downloads: ${formatSize(total)}, up to ${formatRate(most)}`,
  );
  const width = Math.max(1, chart.clientWidth);
  const step = Math.min(width / fetching.length, STEP);
  setAttribute(chart, "viewBox", `0 0 ${width} ${HEIGHT}`);
  chart.replaceChildren(...columns(bytes, fetching, step), ...curve(speeds, step));
}

function columns(bytes, runs, step) {
  const most = Math.max(...bytes);
  return bytes.map((each, index) => {
    // The square root lets a small model be seen beside a large one.
    const height = Math.max(3, Math.sqrt(each / most) * (HEIGHT - 8));
    const words = `${runs[index].models.join(", ")}: ${formatSize(each)}`;
    return svg(
      "rect",
      {
        class: `column column-${runs[index].outcome}`,
        x: index * step + step * 0.2,
        y: HEIGHT - height,
        width: step * 0.6,
        height,
        rx: 3,
      },
      svg("title", {}, words),
    );
  });
}

function curve(speeds, step) {
  const most = Math.max(...speeds);
  const points = speeds.map((each, index) => [
    (index + 0.5) * step,
    HEIGHT - 6 - (each / most) * (HEIGHT - 16),
  ]);
  const path = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
  const last = points.at(-1);
  return [
    svg("polyline", { class: "curve", points: path }),
    svg("circle", { class: "curve-end", cx: last[0], cy: last[1], r: 3.5 }),
  ];
}
