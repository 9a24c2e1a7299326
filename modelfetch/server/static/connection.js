/** Keeps the state in step with the server: one stream of all jobs, and the lists that change with them. */

import { request } from "./api.js";
import { Live } from "./live.js";

/** The lists beside the jobs, and how an answer becomes a message. */
const LISTS = {
  models: ["v1/models", (answer) => ({ type: "models", ...answer })],
  status: ["v1/status", (status) => ({ type: "status", status })],
  history: ["v1/history?limit=50", ({ runs }) => ({ type: "history", runs })],
  sources: ["v1/sources", ({ sources }) => ({ type: "sources", sources })],
  sharing: ["v1/sharing", (sharing) => ({ type: "sharing", sharing })],
  quarantine: ["v1/quarantine", ({ entries }) => ({ type: "quarantine", entries })],
  elsewhere: ["v1/elsewhere", ({ runs }) => ({ type: "elsewhere", runs })],
};

/** Ends of jobs that come closer together than this lead to one reading of the lists. */
const SETTLE_MS = 150;

/** Other processes change the cache too; so often the lists are read anyway. */
const REFRESH_MS = 30_000;

/** What other processes and machines fetch moves while nothing here does; both are cheap to say. */
const ELSEWHERE_MS = 3_000;

/**
 * A tab out of sight gives its stream back after this time: a browser opens six connections to a server at most,
 * over all tabs.
 */
const REST_MS = 30_000;
const RESTING_POLL_MS = 10_000;

/**
 * Connect, and stay connected.
 * @param {(message: object) => void} tell hands a message to the store
 * @param {(error: Error) => void} denied the token is missing or wrong
 */
export function createConnection(tell, denied) {
  let isOn = false;
  let live = null;
  let restTimer = 0;
  let settleTimer = 0;

  async function load(names = Object.keys(LISTS)) {
    await Promise.all(names.map(read));
  }

  async function read(name) {
    const [path, message] = LISTS[name];
    try {
      tell(message(await request("GET", path)));
    } catch (error) {
      if (error.isDenied) refused(error);
      // Anything else shows in the stream too, which says so and comes back by itself.
    }
  }

  function refused(error) {
    if (!isOn) return;
    isOn = false;
    close();
    tell({ type: "connection", phase: "denied" });
    denied(error);
  }

  const listener = {
    opened: () => load(),
    event({ event, data }) {
      const message = STREAM[event]?.(JSON.parse(data));
      if (message) tell({ ...message, at: Date.now() });
      if (event === "ready") tell({ type: "connection", phase: "live" });
    },
    lost: (retryAt) => tell({ type: "connection", phase: "lost", retryAt }),
    refused,
  };

  function open() {
    if (live) return;
    tell({ type: "connection", phase: "connecting" });
    live = new Live("v1/jobs/stream", listener);
  }

  function close() {
    live?.stop();
    live = null;
  }

  /** Follow by asking now and then, without a stream of its own. */
  async function rest() {
    close();
    tell({ type: "connection", phase: "resting" });
    const answer = await request("GET", "v1/jobs").catch(() => null);
    if (!isOn || live) return; // in sight again meanwhile
    if (answer) tell({ type: "listed", jobs: answer.jobs, at: Date.now() });
    restTimer = setTimeout(rest, RESTING_POLL_MS);
  }

  function adapt() {
    clearTimeout(restTimer);
    if (!isOn) return;
    if (document.hidden) restTimer = setTimeout(rest, REST_MS);
    else open();
    live?.retry();
  }

  return {
    /** Begin, or begin anew with another token. */
    start() {
      isOn = true;
      close();
      open();
      adapt();
    },
    /** Do not wait for the next try. */
    retry: () => live?.retry(),
    /** Read the lists again, soon. */
    refresh() {
      clearTimeout(settleTimer);
      settleTimer = setTimeout(load, SETTLE_MS);
    },
    /** Watch the tab and the network; called once. */
    watch() {
      document.addEventListener("visibilitychange", adapt);
      addEventListener("online", adapt);
      setInterval(() => live && !document.hidden && load(), REFRESH_MS);
      setInterval(() => live && !document.hidden && load(["elsewhere", "sharing"]), ELSEWHERE_MS);
    },
  };
}

const STREAM = {
  jobs: (job) => ({ type: "job", job }),
  ready: ({ jobs }) => ({ type: "ready", ids: jobs }),
  gone: ({ job_id: id }) => ({ type: "gone", ids: [id] }),
};
