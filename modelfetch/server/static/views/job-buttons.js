/** What can be done with a job. */

import { h } from "../dom.js";
import { isEnded } from "../store.js";
import { jobTitle } from "../words.js";
import { button } from "./button.js";

/** Each verb: how it looks, what it says while it is done, and for which jobs it is there. */
const VERBS = {
  cancel: {
    words: "Cancel",
    busy: "Cancelling…",
    icon: "cross",
    look: "quiet",
    fits: (job) => !isEnded(job),
  },
  repair: {
    words: "Repair",
    busy: "Starting…",
    icon: "wrench",
    fits: (job) => isCheck(job) && job.status === "failed",
  },
  retry: {
    words: "Retry",
    busy: "Starting…",
    icon: "retry",
    fits: (job) => isEnded(job) && job.status !== "completed",
  },
  clear: { words: "Clear", busy: "Clearing…", look: "quiet", fits: isEnded },
};

const isCheck = (job) => job.operation === "model_verify" && !job.repair;

/**
 * The buttons of a job.
 * @param {object} job
 * @param {object} actions see actions.js
 */
export function jobButtons(job, actions) {
  const name = jobTitle(job);
  const perform = {
    cancel: () => actions.cancel(job.job_id),
    repair: () => actions.verify(job.model, true),
    retry: () => actions.retry(job.job_id),
    clear: () => actions.clear(job.job_id),
  };
  const all = Object.entries(VERBS).map(([verb, { words, icon, look, fits, busy }]) => ({
    part: button(words, { icon, look, onClick: perform[verb] }),
    update(part, now, pending) {
      const isBusy = Boolean(pending[`${verb} ${job.job_id}`]);
      const said = isBusy ? busy : words;
      part.update({ words: said, label: `${said} ${name}`, isBusy, isShown: fits(now) });
    },
  }));
  const elements = all.map(({ part }) => part.element);
  return {
    element: h("div.job-actions", {}, ...elements),
    update(now, pending) {
      const focused = elements.find((element) => element === document.activeElement);
      for (const { part, update } of all) update(part, now, pending);
      // Who pressed Cancel by keyboard finds Retry under the finger.
      if (focused?.hidden) elements.find((element) => !element.hidden)?.focus();
    },
  };
}
