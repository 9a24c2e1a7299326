/** The files of one job: a line each, with its bar. */

import { plural } from "../format.js";
import { h, reconcile, setAttribute, setText, show } from "../dom.js";
import { phaseIcon } from "../icons.js";
import { amounts, ranges } from "../parts.js";
import { shownFiles } from "../store.js";
import { fileNote, filePercent, fileSize, fileState, pace, progressText, sourcesText } from "../words.js";
import { bar } from "./bar.js";
import { disclosure } from "./disclosure.js";
import { legend } from "./strip.js";

/** More lines than this nobody reads; those under way or failed come first. */
const LIMIT = 40;

/** Fewer finished files than this are no crowd. */
const FOLDED = 3;

const CELLS = ["state", "size", "speed", "eta", "percent"];

/**
 * The list of a job's files.
 * @param {string} id names what is folded, for screen readers
 * @param {() => void} redraw
 */
export function fileList(id, redraw) {
  const list = h("ul.files", { role: "list" });
  const done = h("ul.files", { role: "list" });
  const rest = h("p.files-rest");
  const fold = disclosure(`done-${id}`, done, redraw);
  return {
    element: h("div", {}, list, rest, h("div.files-fold", {}, fold.button, fold.element)),
    update(job, now, look) {
      const files = shownFiles(job, LIMIT);
      const { open, folded } = split(files);
      lines(list, open, job, now, look);
      if (fold.isOpen) lines(done, folded, job, now, look);
      show(list, open.length > 0);
      show(fold.button, folded.length > 0);
      show(fold.element, folded.length > 0 && fold.isOpen);
      fold.label(`${plural(folded.length, "finished file")}`);
      const hidden = Math.max(0, job.files_total - files.length);
      show(rest, hidden > 0 && files.length > 0);
      setText(rest, `and ${plural(hidden, "more file")}; ${job.files_done} of ${job.files_total} done`);
    },
  };
}

/** Finished files make room for the others, where there are others. */
function split(files) {
  const folded = files.filter((file) => file.phase === "done");
  if (folded.length < FOLDED || folded.length === files.length) return { open: files, folded: [] };
  return { open: files.filter((file) => file.phase !== "done"), folded };
}

function lines(list, files, job, now, look) {
  reconcile(
    list,
    files.map((file) => ({ file, job, now, look })),
    ({ file }) => file.file,
    ({ file }) => fileLine(file.file),
  );
}

function fileLine(name) {
  const state = phaseIcon();
  const progress = bar(name, "bar-thin");
  const cells = Object.fromEntries(CELLS.map((cell) => [cell, h(`span.file-${cell}`)]));
  const note = h("p.file-note");
  const names = legend();
  const title = h("span.file-name", { text: name, title: name });
  const element = h("li.file", {}, state.element, title, ...Object.values(cells), progress.element, names.element, note);
  return { element, update: (item) => update(item, { element, state, progress, cells, names, note }) };
}

function update({ file, job, now, look }, { element, state, progress, cells, names, note }) {
  const words = fileState(file, job, now);
  const { speed, eta } = pace(file);
  state.update(file.phase);
  setAttribute(element, "data-phase", file.phase);
  setText(cells.state, words);
  setAttribute(cells.state, "title", words);
  setText(cells.size, fileSize(file));
  setText(cells.speed, speed);
  setText(cells.eta, eta);
  const percent = filePercent(file);
  setText(cells.percent, percent);
  show(progress.element, Boolean(percent) || file.phase === "queued");
  setText(note, fileNote(file));
  show(note, Boolean(file.note));
  const text = [words, progressText(file), sourcesText(file)].filter(Boolean).join(", ");
  const parts = file.parts ?? []; // of a server of an earlier version there are none
  progress.update({ percent: file.percent, text, phase: file.phase }, ranges(parts, file.size), look);
  const sources = amounts(parts);
  // The legend of the job names them too; of several files, each has its own amounts.
  names.update(sources.length > 1 && job.files_total > 1 ? sources : [], look);
}
