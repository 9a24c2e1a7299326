/** One job: what it does, how far it is, its files, its log, and what can be done with it. */

import { h, setAttribute, setText, show } from "../dom.js";
import { formatPercent, formatSize } from "../format.js";
import { phaseIcon } from "../icons.js";
import { ranges, shares } from "../parts.js";
import { isEnded } from "../store.js";
import { failureDetails, jobState, jobTitle, operationName, pace, progressText } from "../words.js";
import { bar } from "./bar.js";
import { disclosure } from "./disclosure.js";
import { fileList } from "./files.js";
import { jobButtons } from "./job-buttons.js";
import { jobLog } from "./log.js";
import { legend } from "./strip.js";

/** Whether a job ended before it had a byte: a bar and its figures would only say 0. */
const isNothing = (job) => isEnded(job) && job.status !== "completed" && job.received === 0;

/** Phases in which a bar moves on its own as long as nothing is known. */
const VAGUE = new Set(["planning", "waiting"]);

/**
 * The card of a job.
 * @param {object} job its first snapshot
 * @param {object} actions see actions.js
 */
export function jobCard(job, actions) {
  const parts = {
    icon: phaseIcon(),
    percent: h("p.job-percent"),
    bar: bar(`${operationName(job)} of ${jobTitle(job)}`),
    legend: legend(),
    figures: figures(),
    state: h("p.job-state"),
    buttons: jobButtons(job, actions),
    ...boxes(job, actions),
  };
  const element = h(
    "li.job",
    { "data-job": job.job_id, "data-model": job.model },
    h("div.job-head", {}, parts.icon.element, heading(job), parts.percent),
    parts.bar.element,
    parts.figures.element,
    h("div.job-words", {}, parts.state),
    parts.legend.element,
    h(
      "div.job-foot",
      {},
      parts.detailsBox.button,
      parts.filesBox.button,
      parts.logBox.button,
      parts.buttons.element,
    ),
    parts.detailsBox.element,
    parts.filesBox.element,
    parts.logBox.element,
  );
  return { element, update: (item) => update(item, element, parts) };
}

function heading(job) {
  const facts = [operationName(job), job.title ? job.model : ""].filter(Boolean).join(" · ");
  return h("div.job-heading", {}, h("h3", { text: jobTitle(job) }), h("p.job-facts", { text: facts }));
}

/** The files are open while there is something to watch; the log is followed only while it is open. */
function boxes(job, actions) {
  const files = fileList(job.job_id, actions.redraw);
  const log = jobLog(job.job_id);
  const message = h("p.job-message");
  const hint = h("p.job-hint");
  const detailsBox = disclosure(
    `details-${job.job_id}`,
    h("div.job-details", {}, message, hint),
    actions.redraw,
  );
  detailsBox.label("Details");
  const filesBox = disclosure(`files-${job.job_id}`, files.element, actions.redraw);
  const logBox = disclosure(`log-${job.job_id}`, log.element, (isOpen) =>
    isOpen ? log.open() : log.close(),
  );
  logBox.label("Log");
  filesBox.toggle(!isEnded(job) && job.files_total !== 1);
  return { files, filesBox, logBox, detailsBox, message, hint };
}

function figures() {
  const [size, speed, eta] = ["size", "speed", "eta"].map((name) => h(`span.job-${name}`));
  const element = h("div.job-figures", {}, size, speed, eta);
  return {
    element,
    update(job, isBegun) {
      const now = pace(job);
      const whole = job.size ? formatSize(job.size) : "";
      setText(size, isBegun && whole ? `${formatSize(job.received)} / ${whole}` : whole);
      setText(speed, now.speed || (job.phase === "fetching" ? "Calculating…" : ""));
      setText(eta, now.eta && `${now.eta} left`);
      // The words of what is done say the same, and of what came to nothing there is nothing to say.
      show(element, job.phase !== "done" && !isNothing(job));
    },
  };
}

function update({ job, pending, now, look }, element, parts) {
  const words = jobState(job, now);
  const details = failureDetails(job);
  const isBegun = (isEnded(job) && !isNothing(job)) || job.received > 0 || job.phase === "fetching";
  // What has ended needs no watching any more: its sentence says enough, and its files can be opened again.
  if (isEnded(job) && element.dataset.status === "running") parts.filesBox.toggle(false);
  setAttribute(element, "data-phase", job.phase);
  setAttribute(element, "data-status", job.status);
  parts.icon.update(job.phase);
  setText(parts.percent, isBegun ? formatPercent(job.percent) : "");
  updateSources(job, look, parts, {
    percent: VAGUE.has(job.phase) && !isBegun ? null : job.percent,
    text: isBegun ? `${words}, ${progressText(job)}` : words,
    phase: job.phase,
  });
  parts.figures.update(job, isBegun);
  setText(parts.state, words);
  show(parts.bar.element, !isNothing(job));
  setText(parts.message, details.message);
  setText(parts.hint, details.hint);
  show(parts.detailsBox.button, Boolean(details.message));
  if (parts.filesBox.isOpen) parts.files.update(job, now, look);
  parts.filesBox.label(`Files ${job.files_done}/${job.files_total}`);
  show(parts.filesBox.button, job.files_total > 0);
  parts.buttons.update(job, pending);
}

/** Colour the bar where the bytes have several sources, and name these. */
function updateSources(job, look, parts, state) {
  const sources = job.sources ?? []; // a job of an earlier version has none
  const files = job.files ?? [];
  // The bar of one file shows which bytes came from where; that of several files only how many.
  const isOne = job.files_total === 1 && files.length === 1;
  const coloured = isOne ? ranges(files[0].parts ?? [], job.size) : shares(sources, job.size);
  parts.bar.update(state, sources.length > 1 ? coloured : [], look);
  parts.legend.update(hasLegend(sources) ? sources : [], look);
}

/** What was here before needs no legend; neither does a job without a byte. */
function hasLegend(sources) {
  return sources.some(({ source }) => source !== "cache");
}
