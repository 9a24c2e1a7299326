/** What happened in one job, as the server tells it: newest first, followed live while it is open. */

import { formatClock, plural } from "../format.js";
import { h, setText, show } from "../dom.js";
import { Live } from "../live.js";

/** How many entries are kept. */
const LIMIT = 100;

const LEVELS = {
  retry_scheduled: "warn",
  source_failed: "warn",
  file_quarantined: "warn",
  lock_waiting: "wait",
};

/** The log of a job. */
export function jobLog(jobId) {
  const list = h("ol.log-list", { role: "list", tabindex: 0, "aria-label": "Log, newest first" });
  const count = h("span.log-count", { text: "0 entries" });
  const empty = h("p.log-empty", { text: "Waiting for events…" });
  const clear = h("button.button.quiet.small", { type: "button", text: "Clear log" });
  const element = h("div.log", {}, h("div.log-head", {}, count, clear), empty, list);
  let live = null;

  function refresh() {
    setText(count, plural(list.children.length, "entry", "entries"));
    show(empty, list.children.length === 0);
  }

  function take({ event, data }) {
    if (event === "message") return /^\[(DONE|ERROR|CANCELLED)\]/.test(data);
    const record = JSON.parse(data);
    if (!record.human) return false;
    // Each progress is absolute: the newest takes the place of the one before.
    if (event === "progress") list.querySelector("[data-event=progress]")?.remove();
    list.prepend(entry(record));
    while (list.children.length > LIMIT) list.lastChild.remove();
    refresh();
    return false;
  }

  clear.addEventListener("click", () => {
    list.replaceChildren();
    refresh();
  });

  return {
    element,
    open() {
      if (live) return;
      list.replaceChildren();
      refresh();
      const refused = (error) => setText(empty, error.message);
      live = new Live(`v1/jobs/${jobId}/stream`, { opened() {}, event: take, lost() {}, refused });
    },
    close() {
      live?.stop();
      live = null;
    },
  };
}

function entry(record) {
  const level =
    record.event === "run_finished" && record.outcome !== "completed" ? "error" : LEVELS[record.event];
  return h(
    "li.log-entry",
    { "data-event": record.event },
    h("time", { datetime: record.at, text: formatClock(record.at) }),
    h(`span.level.level-${level ?? "info"}`, { text: level ?? "info" }),
    h("span.log-words", { text: record.human }),
  );
}
