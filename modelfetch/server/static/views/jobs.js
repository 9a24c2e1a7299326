/** The downloads: a card for each job. */

import { glide, reconcile, setText, show } from "../dom.js";
import { plural } from "../format.js";
import { isEnded, overall, shownJobs } from "../store.js";
import { jobCard } from "./job.js";

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
    const items = (showsOlder ? jobs : recent(jobs)).map((job) => ({ job, pending: state.pending, now }));
    glide(list, () =>
      reconcile(
        list,
        items,
        ({ job }) => job.job_id,
        ({ job }) => jobCard(job, actions),
      ),
    );
    frame(parts, state, jobs, items.length);
  };
}

function recent(jobs) {
  const old = new Set(jobs.filter((job) => job.status === "completed").slice(COMPLETED));
  return jobs.filter((job) => !old.has(job));
}

function frame({ count, empty, clear, older }, state, jobs, shown) {
  const { running, queued } = overall(state);
  setText(count, [running && `${running} active`, queued && `${queued} queued`].filter(Boolean).join(", "));
  show(empty, state.isReady && jobs.length === 0);
  show(clear, jobs.some(isEnded));
  show(older, shown < jobs.length);
  setText(older, `Show ${plural(jobs.length - shown, "older download")}`);
}
