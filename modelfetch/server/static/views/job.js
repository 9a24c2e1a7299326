/** One job: what it does, how far it is, its files, its log, and what can be done with it. */

import { h, setAttribute, setText, show } from "../dom.js";
import { formatPercent, formatSize } from "../format.js";
import { phaseIcon } from "../icons.js";
import { isEnded } from "../store.js";
import { jobState, jobTitle, operationName, pace, progressText } from "../words.js";
import { bar } from "./bar.js";
import { disclosure } from "./disclosure.js";
import { fileList } from "./files.js";
import { jobButtons } from "./job-buttons.js";
import { jobLog } from "./log.js";

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
    figures: figures(),
    state: h("p.job-state"),
    hint: h("p.job-hint"),
    buttons: jobButtons(job, actions),
    ...boxes(job, actions),
  };
  const element = h(
    "li.job",
    { "data-job": job.job_id, "data-model": job.model },
    h("div.job-head", {}, parts.icon.element, heading(job), parts.percent),
    parts.bar.element,
    parts.figures.element,
    h("div.job-words", {}, parts.state, parts.hint),
    h("div.job-foot", {}, parts.filesBox.button, parts.logBox.button, parts.buttons.element),
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
  const files = fileList();
  const log = jobLog(job.job_id);
  const filesBox = disclosure(`files-${job.job_id}`, files.element, actions.redraw);
  const logBox = disclosure(`log-${job.job_id}`, log.element, (isOpen) =>
    isOpen ? log.open() : log.close(),
  );
  logBox.label("Log");
  filesBox.toggle(!isEnded(job) && job.files_total !== 1);
  return { files, filesBox, logBox };
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
      show(element, job.phase !== "done"); // its words say the same
    },
  };
}

function update({ job, pending, now }, element, parts) {
  const words = jobState(job, now);
  const hint = job.status === "failed" ? (job.error?.hint ?? "") : "";
  const isBegun = isEnded(job) || job.received > 0 || job.phase === "fetching";
  setAttribute(element, "data-phase", job.phase);
  setAttribute(element, "data-status", job.status);
  parts.icon.update(job.phase);
  setText(parts.percent, isBegun ? formatPercent(job.percent) : "");
  parts.bar.update({
    percent: VAGUE.has(job.phase) && !isBegun ? null : job.percent,
    text: isBegun ? `${words}, ${progressText(job)}` : words,
    phase: job.phase,
  });
  parts.figures.update(job, isBegun);
  setText(parts.state, words);
  setText(parts.hint, hint);
  show(parts.hint, Boolean(hint));
  if (parts.filesBox.isOpen) parts.files.update(job, now);
  parts.filesBox.label(`Files ${job.files_done}/${job.files_total}`);
  show(parts.filesBox.button, job.files_total > 0);
  parts.buttons.update(job, pending);
}
