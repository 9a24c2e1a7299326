/** The files of one job: a line each, with its bar. */

import { formatPercent, plural } from "../format.js";
import { h, reconcile, setAttribute, setText, show } from "../dom.js";
import { phaseIcon } from "../icons.js";
import { shownFiles } from "../store.js";
import { fileNote, fileSize, fileState, pace, progressText } from "../words.js";
import { bar } from "./bar.js";

/** More lines than this nobody reads; those under way or failed come first. */
const LIMIT = 40;

const CELLS = ["state", "size", "speed", "eta", "percent"];

/** The list of a job's files. */
export function fileList() {
  const list = h("ul.files", { role: "list" });
  const rest = h("p.files-rest");
  return {
    element: h("div", {}, list, rest),
    update(job, now) {
      const files = shownFiles(job, LIMIT);
      const items = files.map((file) => ({ file, job, now }));
      reconcile(
        list,
        items,
        ({ file }) => file.file,
        ({ file }) => fileLine(file.file),
      );
      const hidden = Math.max(0, job.files_total - files.length);
      show(rest, hidden > 0 && files.length > 0);
      setText(rest, `and ${plural(hidden, "more file")}; ${job.files_done} of ${job.files_total} done`);
    },
  };
}

function fileLine(name) {
  const state = phaseIcon();
  const progress = bar(name, "bar-thin");
  const cells = Object.fromEntries(CELLS.map((cell) => [cell, h(`span.file-${cell}`)]));
  const note = h("p.file-note");
  const title = h("span.file-name", { text: name, title: name });
  const element = h("li.file", {}, state.element, title, ...Object.values(cells), progress.element, note);
  return { element, update: (item) => update(item, { element, state, progress, cells, note }) };
}

function update({ file, job, now }, { element, state, progress, cells, note }) {
  const words = fileState(file, job, now);
  const { speed, eta } = pace(file);
  state.update(file.phase);
  setAttribute(element, "data-phase", file.phase);
  setText(cells.state, words);
  setAttribute(cells.state, "title", words);
  setText(cells.size, fileSize(file));
  setText(cells.speed, speed);
  setText(cells.eta, eta);
  setText(cells.percent, file.phase === "queued" && !file.received ? "" : formatPercent(file.percent));
  setText(note, fileNote(file));
  show(note, Boolean(file.note));
  progress.update({ percent: file.percent, text: `${words}, ${progressText(file)}`, phase: file.phase });
}
