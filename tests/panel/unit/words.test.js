import assert from "node:assert/strict";
import { test } from "node:test";

import * as words from "../static/words.js";
import { ended, file, job } from "./snapshots.js";

const state = (snapshot, now = 0) => words.jobState({ at: 0, ...snapshot }, now);

test("every phase of a job has its words", () => {
  const phases = [
    "queued",
    "planning",
    "waiting",
    "fetching",
    "retrying",
    "falling back",
    "verifying",
    "done",
    "failed",
    "cancelled",
  ];
  for (const phase of phases) {
    const said = state(job("a", { phase }));
    assert.ok(
      said && said !== phase && !said.includes("undefined") && !said.includes("null"),
      `${phase}: ${said}`,
    );
  }
});

test("a job for single files names them", () => {
  assert.equal(words.jobTitle(job("a", { title: "Whisper" })), "Whisper");
  assert.equal(words.jobTitle(job("a", { title: "Whisper", only: [] })), "Whisper");
  assert.equal(words.jobTitle(job("a", { only: ["onnx/model.onnx"] })), "m: onnx/model.onnx");
});

test("a phase of a later version is shown as it is", () => {
  assert.equal(state(job("a", { phase: "reflecting" })), "reflecting");
});

test("the holder of a lock is named, with how far it is and how long it is waited for", () => {
  const waiting = { holder: "process 4711 on builder", waited: 5, received: 130e6, size: 295e6 };
  assert.equal(
    state(job("a", { phase: "waiting", waiting }), 3000),
    "Waiting for process 4711 on builder, which has 130 MB of 295 MB (8s)",
  );
});

test("a retry is counted down and says why", () => {
  const files = [file("f", { phase: "retrying", wait: 4, attempt: 2, note: "connection reset" })];
  assert.equal(
    state(job("a", { phase: "retrying", files }), 1000),
    "Retrying in 3s (attempt 2): connection reset",
  );
  assert.equal(
    state(job("a", { phase: "retrying", files }), 9000),
    "Retrying now (attempt 2): connection reset",
  );
});

test("a fallback says from where to where, and why", () => {
  const left = { source: "mirror", host: "m.example" };
  const fallen = file("f", {
    phase: "falling back",
    source: "huggingface",
    host: "huggingface.co",
    note: "HTTP 404",
    left,
  });
  assert.equal(words.fileState(fallen, job("a"), 0), "Falling back: mirror m.example → Hugging Face");
  assert.equal(words.fileNote(fallen), "mirror m.example: HTTP 404 → Hugging Face");
});

test("a reason is told with whose it is, as far as that is known", () => {
  const said = (more) =>
    words.fileNote(file("f", { source: "ipfs", host: "g.example", note: "HTTP 503", ...more }));
  assert.equal(said({ phase: "retrying", attempt: 1 }), "IPFS g.example: HTTP 503");
  assert.equal(said({ phase: "fetching", attempt: 2 }), "IPFS g.example: HTTP 503");
  assert.equal(said({ phase: "failed", attempt: 0 }), "IPFS g.example: HTTP 503");
  assert.equal(said({ phase: "fetching", attempt: 1 }), "HTTP 503 → IPFS g.example");
  assert.equal(said({ note: "" }), "");
});

test("a failure is one plain sentence, and the server's words are its details", () => {
  const error = { code: "unavailable", message: "m: f: no source could deliver it (mirror ...)", hint: "later" };
  const said = (more) => state(ended("a", "failed", { error, ...more }));
  const files = [file("f", { phase: "failed" }), file("g", { phase: "done" })];
  assert.equal(said({ files }), "No source could deliver f.");
  assert.equal(said({ files: [...files, file("h", { phase: "failed" })] }), "No source could deliver 2 files.");
  assert.equal(said({ files: [] }), "No source could deliver the model.");
  const wrong = { error: { ...error, code: "integrity" } };
  assert.equal(said({ files, ...wrong }), "A source sent wrong bytes for f. They were not used.");
  const mixed = [...files, file("h", { phase: "failed" })];  // one of them may have failed in another way
  assert.equal(said({ files: mixed, ...wrong }), "2 files could not be fetched: sources sent wrong bytes, which were not used.");
  const refused = { error: { ...error, code: "unauthorised" } };
  assert.equal(said({ files, ...refused }), "A source refused access to f.");
  assert.equal(said({ files: mixed, ...refused }), "2 files could not be fetched: a source refused access.");
  assert.equal(said({ error: { ...error, code: "of a later version" } }), error.message);
  assert.equal(said({ error: null }), "It failed.");
  const check = { operation: "model_verify", repair: false, error: { ...error, code: "integrity" } };
  assert.equal(said({ files, ...check }), "Failed verification: f.");
  const details = words.failureDetails(ended("a", "failed", { error }));
  assert.deepEqual(details, { message: error.message, hint: "later" });
  assert.deepEqual(words.failureDetails(ended("a", "cancelled", { error })), { message: "", hint: "" });
});

test("a failed file does not point at itself", () => {
  const here = { source: "huggingface", host: "huggingface.co" };
  const said = (more) => words.fileNote(file("f", { ...here, note: "HTTP 404", ...more }));
  assert.equal(said({ phase: "failed", left: here }), "Hugging Face: HTTP 404");
  assert.equal(said({ phase: "fetching", attempt: 2, left: here }), "Hugging Face: HTTP 404");
  const left = { source: "mirror", host: "m.example" };
  assert.equal(said({ phase: "failed", left }), "mirror m.example: HTTP 404");
});

test("a file that came to nothing has no bare zero", () => {
  assert.equal(words.filePercent(file("f", { phase: "failed", received: 0, percent: 0 })), "");
  assert.equal(words.filePercent(file("f", { phase: "failed", received: 5, percent: 0.5 })), "0.5%");
  assert.equal(words.filePercent(file("f", { phase: "fetching", received: 0, percent: 0 })), "0.0%");
});

test("a run says why it failed without naming its only model again", () => {
  const run = { outcome: "failed", error: "m: f: no source", models: ["m"] };
  assert.equal(words.runReason(run), "f: no source");
  assert.equal(words.runReason({ ...run, models: ["m", "n"] }), "m: f: no source");
  assert.equal(words.runReason({ ...run, outcome: "cancelled" }), "");
});

test("what is done says how much came in, or that nothing had to", () => {
  assert.equal(state(ended("a", "completed", { fetched: 50e6 })), "Done. 50.0 MB fetched in 10s (5.00 MB/s)");
  assert.equal(
    state(ended("a", "completed", { fetched: 0 })),
    "Done. 1 file already present, nothing to fetch",
  );
  assert.match(state(ended("a", "completed", { operation: "model_verify" })), /^Verified/);
});

test("an unknown speed is no number", () => {
  assert.deepEqual(words.pace({ speed: null, eta: null }), { speed: "", eta: "" });
  assert.equal(words.progressText(job("a", { received: 500, percent: 50 })), "50.0%, 500 B of 1.00 kB");
});

test("for how long no byte came stands in place of speed and time left", () => {
  const still = { status: "running", speed: null, eta: null, idle: 12.4 };
  assert.deepEqual(words.pace(still), { speed: "no data for 12 s", eta: "" });
  assert.deepEqual(words.pace({ ...still, status: "failed" }), { speed: "", eta: "" });
  assert.match(words.progressText(job("a", still)), /no data for 12 s$/);
});

test("a license that asks for something is shown before it is installed", () => {
  assert.equal(words.licenseWarning({ permissive: true, license: "MIT", license_notice: "" }), "");
  assert.match(
    words.licenseWarning({ permissive: false, license: "AGPL-3.0", license_notice: "" }),
    /AGPL-3.0/,
  );
  assert.match(words.licenseWarning({ permissive: false, license: "", license_notice: "" }), /no license/);
  assert.equal(
    words.licenseWarning({ permissive: true, license: "MIT", license_notice: "read this" }),
    "read this",
  );
});

test("progress is no news, but the first byte, trouble and the end are", () => {
  const worth = (from, to) => words.isWorthSaying(job("a", { phase: from }), job("a", { phase: to }));
  assert.ok(worth("planning", "fetching") && worth("fetching", "retrying") && worth("verifying", "done"));
  assert.ok(!worth("retrying", "fetching") && !worth("fetching", "verifying"));
  assert.ok(words.isWorthSaying(undefined, job("a")));
});

const upstream = (more) => ({
  name: "m",
  upstream: { ref: "hf:org/m", state: "current", checked_at: "2026-11-20T06:00:00.000Z", moved: false, revision: "", error: "", ...more },
});
const LATER = Date.parse("2026-11-22T06:00:00.000Z");

test("an upstream that moved, or whose check is due or failed, is flagged", () => {
  assert.equal(words.upstreamFlag({ upstream: null }), "");
  assert.equal(words.upstreamFlag({}), "");
  assert.equal(words.upstreamFlag(upstream({})), "");
  for (const state of ["moved", "due", "failed"]) assert.ok(words.upstreamFlag(upstream({ state })));
});

test("the state of an upstream says since when it is known, and what to run", () => {
  assert.equal(words.upstreamState({ upstream: null }, LATER), "");
  assert.equal(words.upstreamState(upstream({}), LATER), "Up to date (last checked 2 days ago)");
  const moved = upstream({ state: "moved", moved: true, revision: "9f2c11aa0034".padEnd(40, "0") });
  assert.equal(words.upstreamState(moved, LATER), "Moved to 9f2c11aa0034 (last checked 2 days ago)");
  assert.equal(words.upstreamAdvice(moved), "modelfetch upgrade m");
  const due = upstream({ state: "due", checked_at: null });
  assert.equal(words.upstreamState(due, LATER), "Check due (never checked)");
  assert.equal(words.upstreamAdvice(due), "modelfetch outdated m");
  assert.equal(words.upstreamAdvice(upstream({})), "");
  const failed = upstream({ state: "failed", error: "no answer", moved: true });
  assert.equal(
    words.upstreamState(failed, LATER),
    "Check failed: no answer (moved already; last checked 2 days ago)",
  );
});

test("a revision is shortened only where it is a commit or a digest", () => {
  assert.equal(words.shortRevision("sha256:" + "ab".repeat(32)), "abababababab");
  assert.equal(words.shortRevision("v1.0"), "v1.0");
});

test("the hubs that state digests are named once", () => {
  const files = [{ stated_by: ["huggingface", "modelscope"] }, { stated_by: [] }, { stated_by: ["huggingface"] }];
  assert.equal(words.statedBy(files), "Hugging Face, ModelScope");
});

test("a name is proposed only where the server says that it is taken", () => {
  const hint = "Choose another name: --name org-m";
  assert.equal(words.takenName({ code: "usage", hint }), "org-m");
  assert.equal(words.takenName({ code: "unavailable", hint }), "");
  assert.equal(words.takenName({ code: "usage", hint: "Try again." }), "");
});

test("a quarantine entry says what it is and why it is there", () => {
  const entry = { id: "0123456789abcdef", file: "a.bin", path: "/b", expected: "0", source: "mirror m.example" };
  assert.equal(words.entryName(entry), "a.bin");
  assert.equal(words.entryName({ ...entry, file: "" }), "/b");
  assert.equal(words.entryName({ ...entry, file: "", path: "" }), "0123456789ab");
  assert.equal(words.entryReason(entry), "Wrong data from mirror m.example.");
  assert.equal(words.entryReason({ ...entry, source: "huggingface huggingface.co" }), "Wrong data from Hugging Face.");
  assert.equal(words.entryReason({ ...entry, source: "" }), "Wrong data; its source is not known.");
  assert.equal(words.entryReason({ ...entry, expected: "" }), "Not listed by the manifest of its model.");
});

test("only data that may go back to where it was is offered for it", () => {
  const entry = { size: 3, expected: "0", path: "/c/partial/0/data", directory: "/c/quarantine/2026Z-0" };
  assert.equal(words.isRestorable(entry), false);
  assert.equal(words.isRestorable({ ...entry, path: "/c/blobs/sha256/00/0" }), false);
  assert.equal(words.isRestorable({ ...entry, expected: "", path: "/c/models/m/1/x.bin" }), true);
  assert.equal(words.isRestorable({ ...entry, path: "/elsewhere/a.bin" }), true);
  assert.equal(words.isRestorable({ ...entry, path: "/elsewhere/a.bin", size: null }), false);
  assert.equal(words.isRestorable({ ...entry, expected: "", path: "" }), false);
});

test("a file of several sources says how many, and how much came from each", () => {
  const parts = [
    [0, 600, "peer lab-2:8765"],
    [600, 700, "swarm swarm"],
    [700, 1000, "huggingface huggingface.co"],
  ];
  const mixed = file("f", { phase: "done", source: "huggingface", host: "huggingface.co", parts });
  assert.equal(words.fileState(mixed, job("a"), 0), "3 sources");
  assert.equal(
    words.sourcesText(mixed),
    "600 B from peer lab-2:8765, 300 B from Hugging Face, 100 B from swarm",
  );
  const plain = { ...mixed, parts: [[0, 1000, "huggingface huggingface.co"]] };
  assert.equal(words.fileState(plain, job("a"), 0), "Hugging Face");
  assert.equal(words.sourcesText(plain), "");
  assert.equal(words.sourcesText(file("of an earlier version")), "");
});

test("a source without a host shows its kind alone", () => {
  assert.equal(words.hostName({ source: "swarm", host: "swarm" }), "");
  assert.equal(words.hostName({ source: "peer", host: "10.0.0.5:8765" }), "10.0.0.5:8765");
  assert.equal(words.sourceName({ source: "swarm", host: "swarm" }), "swarm");
  assert.equal(words.sourceName({ source: "huggingface", host: "huggingface.co" }), "Hugging Face");
});
