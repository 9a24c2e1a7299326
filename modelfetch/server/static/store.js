/**
 * What the panel knows: a fold over what the server says. Pure, and the only truth the views draw from.
 *
 * `reduce(state, message)` gives the next state. Messages that carry snapshots of jobs have `at`, the time (ms) of
 * their arrival, so that a countdown can go on between two snapshots.
 */

import { clampPercent } from "./format.js";

/** The state before the server said anything. */
export const INITIAL = Object.freeze({
  connection: { phase: "connecting", retryAt: 0 },
  jobs: {},
  isReady: false,
  models: null,
  faults: [],
  status: null,
  runs: null,
  sources: null,
  sharing: null,
  elsewhere: [],
  quarantine: [],
  pending: {},
});

const ENDS = new Set(["completed", "failed", "cancelled"]);

const REDUCERS = {
  connection: (state, { phase, retryAt = 0 }) => ({ ...state, connection: { phase, retryAt } }),
  job: (state, { job, at }) => withJob(state, job, at),
  listed: (state, { jobs, at }) =>
    withOnly(
      jobs.reduce((so, job) => withJob(so, job, at), state),
      jobs.map(idOf),
    ),
  ready: (state, { ids }) => withOnly(state, ids),
  gone: (state, { ids }) => ({ ...state, jobs: without(state.jobs, ids) }),
  models: (state, { models, faults = [] }) => ({ ...state, models, faults }),
  status: (state, { status }) => ({ ...state, status }),
  history: (state, { runs }) => ({ ...state, runs }),
  sources: (state, { sources }) => ({ ...state, sources }),
  sharing: (state, { sharing }) => ({ ...state, sharing }),
  elsewhere: (state, { runs }) => ({ ...state, elsewhere: runs }),
  quarantine: (state, { entries }) => ({ ...state, quarantine: entries }),
  asked: (state, { key }) => ({ ...state, pending: { ...state.pending, [key]: { jobId: null } } }),
  answered: (state, { key, jobId = null }) => answered(state, key, jobId),
};

/** The state after one message. */
export function reduce(state, message) {
  return REDUCERS[message.type](state, message);
}

function withJob(state, snapshot, at) {
  const before = state.jobs[snapshot.job_id];
  // A job never leaves its end; a snapshot that says otherwise was overtaken on its way.
  if (before && isEnded(before) && !isEnded(snapshot)) return state;
  const files = snapshot.files?.map((file) => withFallback(file, before)) ?? before?.files ?? null;
  const jobs = { ...state.jobs, [snapshot.job_id]: { ...snapshot, files, at } };
  const settled = Object.keys(state.pending).filter((key) => state.pending[key].jobId === snapshot.job_id);
  return { ...state, jobs, pending: without(state.pending, settled) };
}

/** Note which source a file was left by, as long as the reason for that is shown. */
function withFallback(file, before) {
  if (file.left) return file;
  const old = before?.files?.find(({ file: name }) => name === file.file);
  if (!file.note || !old?.source) return { ...file, left: null };
  const isSame = old.source === file.source && old.host === file.host;
  return { ...file, left: isSame ? old.left : { source: old.source, host: old.host } };
}

function withOnly(state, ids) {
  const known = new Set(ids);
  const gone = Object.keys(state.jobs).filter((id) => !known.has(id));
  const settled = Object.keys(state.pending).filter((key) => state.pending[key].jobId);
  return {
    ...state,
    jobs: without(state.jobs, gone),
    pending: without(state.pending, settled),
    isReady: true,
  };
}

/** An action stays pending until the job it began is seen, so that its button never flickers. */
function answered(state, key, jobId) {
  if (!jobId || state.jobs[jobId]) return { ...state, pending: without(state.pending, [key]) };
  return { ...state, pending: { ...state.pending, [key]: { jobId } } };
}

function without(entries, keys) {
  const dropped = new Set(keys);
  return Object.fromEntries(Object.entries(entries).filter(([key]) => !dropped.has(key)));
}

const idOf = (job) => job.job_id;

/** Whether a job has come to its end. */
export function isEnded(job) {
  return ENDS.has(job.status);
}

/** The jobs to show: running, then queued, in their order; then the ended ones, the last first. */
export function shownJobs(state) {
  const jobs = Object.values(state.jobs);
  const retried = new Set(jobs.map((job) => job.retry_of)); // they give way to their retries
  const shown = jobs.filter((job) => !retried.has(job.job_id));
  return [
    ...shown.filter((job) => job.status === "running").sort(by("started_at")),
    ...shown.filter((job) => job.status === "queued").sort(by("created_at")),
    ...shown.filter(isEnded).sort(by("finished_at")).reverse(),
  ];
}

function by(time) {
  return (a, b) => (a[time] ?? "").localeCompare(b[time] ?? "") || a.job_id.localeCompare(b.job_id);
}

/** The jobs that stand behind one shown: itself, the one it is the retry of, and so on. */
export function lineage(state, id) {
  const ids = [];
  for (let job = state.jobs[id]; job; job = state.jobs[job.retry_of]) ids.push(job.job_id);
  return ids;
}

/** The job that works on a model now, if any. */
export function jobOf(state, model) {
  return Object.values(state.jobs).find((job) => job.model === model && !isEnded(job)) ?? null;
}

/**
 * How a model stands.
 * @returns {"starting" | "active" | "present" | "partial" | "absent"}
 */
export function standing(state, model) {
  if (jobOf(state, model.name)) return "active";
  if (state.pending[`install ${model.name}`]) return "starting";
  if (model.present) return "present";
  return model.partial > 0 ? "partial" : "absent";
}

/** What other processes fetch; a model that a job here waits for is shown by that job. */
export function shownElsewhere(state) {
  return state.elsewhere.filter((run) => !jobOf(state, run.model));
}

/** The figures of all jobs under way together. */
export function overall(state) {
  const jobs = Object.values(state.jobs).filter((job) => !isEnded(job));
  const sum = (name) => jobs.reduce((total, job) => total + (job[name] ?? 0), 0);
  const size = sum("size");
  return {
    running: jobs.filter((job) => job.status === "running").length,
    queued: jobs.filter((job) => job.status === "queued").length,
    speed: sum("speed"),
    percent: size ? clampPercent((100 * sum("received")) / size) : 0,
  };
}

/** Seconds until a file is tried again, by now. */
export function countdown(file, job, now) {
  return file.wait === null ? null : Math.max(0, file.wait - (now - job.at) / 1000);
}

/** What of a job's files to show: all of few, else those under way or failed and then the next ones. */
export function shownFiles(job, limit) {
  const files = job.files ?? [];
  if (files.length <= limit) return files;
  const isUrgent = (file) => !["queued", "done"].includes(file.phase);
  const room = new Set(
    [...files.filter(isUrgent), ...files.filter((file) => !isUrgent(file))].slice(0, limit),
  );
  return files.filter((file) => room.has(file));
}

/** The jobs whose status or phase is another than before, as pairs. */
export function changes(before, after) {
  return Object.values(after.jobs)
    .map((job) => [before.jobs[job.job_id], job])
    .filter(([old, job]) => old !== job && (old?.status !== job.status || old?.phase !== job.phase));
}
