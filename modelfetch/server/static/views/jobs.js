/** The downloads: a card for each job. */

import { glide, reconcile, setText, show } from "../dom.js";
import { plural } from "../format.js";
import { looks } from "../parts.js";
import { isEnded, overall, shownElsewhere, shownJobs } from "../store.js";
import { elsewhereCard } from "./elsewhere.js";
import { jobCard } from "./job.js";

const FIRST = "Choose a model to install. Every byte is checked before it counts.";
const NEXT = "Choose a model to install. What was fetched before is in the history.";

/** How many completed jobs are shown before "Show older". */
const COMPLETED = 3;

/**
 * The section of the downloads.
 * @param {HTMLElement} root
 * @param {object} actions see actions.js
 */
export function jobsView(root, actions) {
  const list = root.querySelector(".jobs");
  const parts = {
    count: root.querySelector(".count"),
    empty: root.querySelector(".empty"),
    clear: root.querySelector(".clear-all"),
    older: root.querySelector(".show-older"),
  };
  let showsOlder = false;
  parts.clear.addEventListener("click", () => actions.clearAll());
  parts.older.addEventListener("click", () => {
    showsOlder = true;
    actions.redraw();
  });
  return (state, now) => {
    const jobs = shownJobs(state);
    const look = looks(jobs.flatMap((job) => job.sources ?? [])); // a source looks the same in every job
    const own = (showsOlder ? jobs : recent(jobs)).map((job) => ({ job, pending: state.pending, now, look }));
    const others = shownElsewhere(state).map((run) => ({ run }));
    const live = own.filter(({ job }) => !isEnded(job));
    glide(list, () =>
      reconcile(
        list,
        [...live, ...others, ...own.slice(live.length)],
        ({ job, run }) => job?.job_id ?? `elsewhere ${run.model}`,
        ({ job, run }) => (job ? jobCard(job, actions) : elsewhereCard(run)),
      ),
    );
    frame(parts, state, jobs, own.length, others.length);
  };
}

function recent(jobs) {
  const old = new Set(jobs.filter((job) => job.status === "completed").slice(COMPLETED));
  return jobs.filter((job) => !old.has(job));
}

function frame({ count, empty, clear, older }, state, jobs, shown, others) {
  const { running, queued } = overall(state);
  const isNew = state.runs !== null && state.runs.length === 0;
  setText(empty.querySelector(".empty-words"), isNew ? "No downloads yet" : "Nothing is downloading");
  setText(empty.querySelector(".hint"), isNew ? FIRST : NEXT);
  const counts = [
    running && `${running} active`,
    queued && `${queued} queued`,
    others && `${others} elsewhere`,
  ];
  setText(count, counts.filter(Boolean).join(", "));
  show(empty, state.isReady && jobs.length === 0 && others === 0);
  show(clear, jobs.some(isEnded));
  show(older, shown < jobs.length);
  setText(older, `Show ${plural(jobs.length - shown, "older download")}`);
}
