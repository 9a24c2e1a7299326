/** The sentences of the panel: snapshots in, plain text out. Pure. */

import { formatAgo, formatDuration, formatPercent, formatRate, formatSize, plural } from "./format.js";
import { amounts } from "./parts.js";
import { countdown } from "./store.js";

const KINDS = {
  local: "this disk",
  cache: "this disk",
  peer: "peer",
  swarm: "swarm",
  mirror: "mirror",
  ipfs: "IPFS",
  huggingface: "Hugging Face",
  modelscope: "ModelScope",
  oci: "registry",
  url: "web",
};

/** A kind of source, for a person. */
export function kindName(kind) {
  return KINDS[kind] ?? kind;
}

/** A source: its kind, and its host where that says more. */
export function sourceName({ source, host }) {
  const shown = host === "huggingface.co" ? "" : hostName({ source, host });
  return source ? [kindName(source), shown].filter(Boolean).join(" ") : "";
}

/** The host of a source; empty for kinds that have none. */
export function hostName({ source, host }) {
  return ["local", "cache", "swarm"].includes(source) ? "" : host;
}

/** A quarantine entry: its file in the model, else where it was. */
export function entryName({ file, path, id }) {
  return file || path || shortDigest(id);
}

/** Why an entry is in quarantine; its source is stored as `kind host`. */
export function entryReason({ expected, source }) {
  if (!expected) return "Not listed by the manifest of its model.";
  const [kind, ...rest] = source.split(" ");
  const name = sourceName({ source: kind, host: rest.join(" ") });
  return name ? `Wrong data from ${name}.` : "Wrong data; its source is not known.";
}

/**
 * Whether the server can move an entry back to where it was. The cache keeps verified bytes only, so data that failed
 * verification does not go back into it; a file that no manifest lists does, and so does data from outside of it.
 */
export function isRestorable({ size, expected, path, directory }) {
  const cache = directory.slice(0, directory.lastIndexOf("/quarantine/") + 1);
  return size !== null && Boolean(path) && !(expected && path.startsWith(cache));
}

/** The first digits of a digest, as many as the command line shows. */
export function shortDigest(digest) {
  return digest.slice(0, 12);
}

/** What a job is for. */
export function operationName(job) {
  if (job.operation !== "model_verify") return "Download";
  return job.repair ? "Repair" : "Verify";
}

/** What to call a job's model, with the files if it is about some of them only: a client of the server asked. */
export function jobTitle(job) {
  const name = job.title || job.model;
  return job.only?.length ? `${name}: ${job.only.join(", ")}` : name;
}

const JOB_WORDS = {
  queued: () => "Queued. Starts when a running job ends.",
  planning: () => "Planning what to fetch…",
  waiting: (job, now) => waiting(job, now),
  fetching: (job) => fetching(job),
  retrying: (job, now) => trouble(job, now) ?? "Retrying…",
  "falling back": (job, now) => trouble(job, now) ?? "Falling back…",
  verifying: (job) => (job.operation === "model_verify" ? "Verifying the files on this disk" : "Verifying"),
  done: (job) => done(job),
  failed: (job) => failure(job),
  cancelled: () => "Cancelled. Verified data was kept.",
};

/** What a job is doing, in words. */
export function jobState(job, now) {
  return JOB_WORDS[job.phase]?.(job, now) ?? job.phase;
}

/** By code; a run ends with its gravest failure, so of many files some may have failed in another way. */
const FAILURES = {
  unavailable: (what) => `No source could deliver ${what}.`,
  integrity: (what, isOne) =>
    isOne
      ? `A source sent wrong bytes for ${what}. They were not used.`
      : `${what} could not be fetched: sources sent wrong bytes, which were not used.`,
  disk: (what) => `The disk refused to store ${what}.`,
  offline: (what) => `Not on this disk, and the network may not be used: ${what}.`,
  unauthorised: (what, isOne) =>
    isOne ? `A source refused access to ${what}.` : `${what} could not be fetched: a source refused access.`,
  timeout: () => "The time limit was reached. Verified data was kept.",
  lock_timeout: () => "Another process worked on it for too long.",
  interrupted: () => "The server was stopped while this ran. Verified data was kept.",
  bad_manifest: () => "Its manifest is wrong.",
  unknown_model: () => "No catalog has this model any more.",
  config: () => "A setting is wrong.",
  bug: () => "This is a bug in modelfetch.",
};

/** Why a job failed, in one plain sentence; the server's own words are in its details. */
function failure(job) {
  const bad = (job.files ?? []).filter((file) => file.phase === "failed");
  if (job.operation === "model_verify" && !job.repair && job.error?.code === "integrity")
    return bad.length ? `Failed verification: ${named(bad)}.` : "Some files failed verification.";
  const what = bad.length ? named(bad) : "the model";
  return FAILURES[job.error?.code]?.(what, bad.length <= 1) ?? job.error?.message ?? "It failed.";
}

function named(files) {
  return files.length === 1 ? files[0].file : plural(files.length, "file");
}

/** What the server says about a failure: the whole reason, and what to do. */
export function failureDetails(job) {
  const { message = "", hint = "" } = (job.status === "failed" && job.error) || {};
  return { message, hint };
}

function waiting(job, now) {
  const { holder = "another process", waited = 0, received = 0, size = 0 } = job.waiting ?? {};
  const since = formatDuration(waited + (now - job.at) / 1000);
  const there = size ? `, which has ${formatSize(received)} of ${formatSize(size)}` : "";
  return `Waiting for ${holder || "another process"}${there} (${since})`;
}

function fetching(job) {
  const active = (job.files ?? []).filter((file) => file.phase === "fetching");
  const sources = [...new Set(active.map(sourceName).filter(Boolean))];
  return sources.length ? `Fetching from ${sources.join(", ")}` : "Fetching…";
}

/** What the first file in the job's phase has run into. */
function trouble(job, now) {
  const file = (job.files ?? []).find((each) => each.phase === job.phase);
  return file ? [fileState(file, job, now), file.note].filter(Boolean).join(": ") : null;
}

function done(job) {
  if (job.operation === "model_verify" && !job.repair)
    return `Verified: all ${plural(job.files_total, "file")} are right`;
  if (!job.fetched) return `Done. ${plural(job.files_total, "file")} already present, nothing to fetch`;
  const seconds = elapsed(job);
  const rate = seconds >= 1 ? ` (${formatRate(job.fetched / seconds)})` : "";
  return `Done. ${formatSize(job.fetched)} fetched in ${formatDuration(Math.max(1, seconds))}${rate}`;
}

/** Seconds from a job's start to its end; 0 before. */
export function elapsed(job) {
  const seconds = (Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1000;
  return Number.isNaN(seconds) ? 0 : Math.max(0, seconds);
}

const FILE_WORDS = {
  queued: () => "Queued",
  fetching: (file) => sourceName(file) || "Connecting…",
  retrying: (file, job, now) => retrying(file, job, now),
  "falling back": (file) => `Falling back: ${route(file)}`,
  verifying: () => "Verifying",
  done: (file) => mixture(file) || sourceName(file),
  failed: () => "Failed",
  cancelled: () => "Cancelled",
};

/** How many sources a file's bytes have; empty where it has only one. */
function mixture({ parts = [] }) {
  const count = amounts(parts).length;
  return count > 1 ? plural(count, "source") : "";
}

/** The sources of a file's bytes by their amount, as a screen reader reads them from its bar; empty of only one. */
export function sourcesText({ parts = [] }) {
  const sources = amounts(parts);
  if (sources.length < 2) return "";
  return sources.map((source) => `${formatSize(source.received)} from ${sourceName(source)}`).join(", ");
}

/** What a file is doing, in words. */
export function fileState(file, job, now) {
  return FILE_WORDS[file.phase]?.(file, job, now) ?? file.phase;
}

function retrying(file, job, now) {
  const seconds = countdown(file, job, now);
  const when =
    seconds === null || seconds < 0.5 ? "Retrying now" : `Retrying in ${formatDuration(Math.ceil(seconds))}`;
  return file.attempt > 1 ? `${when} (attempt ${file.attempt})` : when;
}

function route(file) {
  const to = sourceName(file) || "the next source";
  return file.left ? `${sourceName(file.left)} → ${to}` : `→ ${to}`;
}

/** Why a file had to be retried or fetched elsewhere; empty where nothing went wrong. */
export function fileNote(file) {
  if (!file.note) return "";
  const here = sourceName(file);
  const before = file.left ? sourceName(file.left) : "";
  // A file that ended has no next source, and a source is not the next one after itself.
  if (file.phase === "failed" || file.phase === "cancelled" || before === here)
    return [before || here, file.note].filter(Boolean).join(": ");
  if (before) return `${before}: ${file.note} → ${here}`;
  // The first try of a source that has no trouble of its own: the reason was another source's.
  const isElsewhere = file.attempt <= 1 && ["fetching", "verifying", "done"].includes(file.phase);
  return isElsewhere ? `${file.note} → ${here}` : [here, file.note].filter(Boolean).join(": ");
}

/** How much of a file is here: both figures only while they differ. */
export function fileSize(file) {
  const size = formatSize(file.size);
  return file.received === 0 || file.phase === "done" ? size : `${formatSize(file.received)} / ${size}`;
}

/** Speed and time left of a job or file, or for how long no byte came; empty where unknown or over. */
export function pace({ status, speed, eta, idle }) {
  const isMoving = status === "running";
  if (isMoving && idle) return { speed: `no data for ${Math.round(idle)} s`, eta: "" };
  return {
    speed: isMoving && speed !== null ? formatRate(speed) : "",
    eta: isMoving && eta !== null ? formatDuration(Math.ceil(eta)) : "",
  };
}

/** The figures of a job or file as a screen reader reads them from its bar. */
export function progressText(item) {
  const { speed, eta } = pace(item);
  const parts = [
    formatPercent(item.percent),
    `${formatSize(item.received)} of ${formatSize(item.size)}`,
    speed,
  ];
  return [...parts, eta && `${eta} left`].filter(Boolean).join(", ");
}

/** A change of a job, for the live region. */
export function announcement(job, now) {
  return `${jobTitle(job)}: ${jobState(job, now)}`;
}

/** Why somebody should read on before installing a model; empty where its license asks for nothing. */
export function licenseWarning(model) {
  if (model.permissive && !model.license_notice) return "";
  const stated = model.license
    ? `License: ${model.license}, as stated by the publisher.`
    : "The publisher states no license.";
  return model.license_notice || stated;
}

const UPSTREAM_FLAGS = { moved: "newer upstream", due: "check due", failed: "check failed" };

/** What to know about a model's upstream in a list; empty where it is up to date or has none. */
export function upstreamFlag({ upstream }) {
  return UPSTREAM_FLAGS[upstream?.state] ?? "";
}

const UPSTREAM_WORDS = {
  current: () => "Up to date",
  moved: ({ revision }) => `Moved${revision ? ` to ${shortRevision(revision)}` : ""}`,
  due: () => "Check due",
  failed: ({ error }) => `Check failed${error ? `: ${error}` : ""}`,
};

/** How a model's upstream stands, and since when that is known; empty where it has none. */
export function upstreamState({ upstream }, now) {
  if (!upstream) return "";
  const words = UPSTREAM_WORDS[upstream.state]?.(upstream) ?? upstream.state;
  const when = upstream.checked_at ? `last checked ${formatAgo(upstream.checked_at, now)}` : "never checked";
  const isKnown = upstream.state === "failed" && upstream.moved ? "moved already; " : "";
  return `${words} (${isKnown}${when})`;
}

/** What to run about a model's upstream; empty where nothing is to be done. */
export function upstreamAdvice({ name, upstream }) {
  if (upstream?.moved) return `modelfetch upgrade ${name}`;
  return upstream && upstream.state !== "current" ? `modelfetch outdated ${name}` : "";
}

/** A commit or digest as it is usually shortened; other revisions stay. */
export function shortRevision(revision) {
  return /^(sha256:)?[0-9a-f]{40,}$/.test(revision) ? revision.replace("sha256:", "").slice(0, 12) : revision;
}

/** The hubs that state digests of files. */
export function statedBy(files) {
  return [...new Set(files.flatMap((file) => file.stated_by))].map(kindName).join(", ");
}

/** The name that the server proposes where a name is taken; empty for any other error. */
export function takenName({ code, hint = "" }) {
  return code === "usage" ? (hint.match(/--name ([a-z0-9][a-z0-9._-]*)/)?.[1] ?? "") : "";
}

/** How big a model is and under which license. */
export function modelFacts(model) {
  return [formatSize(model.size), model.license || "no license stated"];
}

const WORTH_SAYING = new Set([
  "queued",
  "waiting",
  "retrying",
  "falling back",
  "done",
  "failed",
  "cancelled",
]);

/** Whether a change of a job is news; that it fetches is news once. */
export function isWorthSaying(old, job) {
  if (WORTH_SAYING.has(job.phase)) return true;
  return job.phase === "fetching" && !["retrying", "falling back", "verifying"].includes(old?.phase);
}

/** Why a run failed; its only model, which stands above, is not named again. */
export function runReason({ outcome, error, models }) {
  if (outcome !== "failed") return "";
  const prefix = `${models[0]}: `;
  return models.length === 1 && error.startsWith(prefix) ? error.slice(prefix.length) : error;
}

/** Percent of a file; empty where it would be a bare zero of something that waits or came to nothing. */
export function filePercent(file) {
  const isStill = ["queued", "failed", "cancelled"].includes(file.phase);
  return isStill && !file.received ? "" : formatPercent(file.percent);
}
