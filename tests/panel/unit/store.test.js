import assert from "node:assert/strict";
import { test } from "node:test";

import * as store from "../static/store.js";
import { ended, file, job, model } from "./snapshots.js";

const fold = (...messages) => messages.reduce(store.reduce, store.INITIAL);
const tell = (snapshot, at = 0) => ({ type: "job", job: snapshot, at });
const ids = (jobs) => jobs.map(({ job_id: id }) => id);

test("the state given is never changed", () => {
  const before = fold(tell(job("a")));
  const copy = structuredClone(before);
  store.reduce(before, tell(job("a", { percent: 50 })));
  store.reduce(before, { type: "gone", ids: ["a"] });
  assert.deepEqual(before, copy);
});

test("the list of the quarantine takes the place of the one before", () => {
  assert.deepEqual(fold().quarantine, []);
  const told = (...entries) => ({ type: "quarantine", entries });
  assert.deepEqual(fold(told({ id: "a" }, { id: "b" }), told({ id: "b" })).quarantine, [{ id: "b" }]);
});

test("a snapshot takes the place of the one before", () => {
  const state = fold(tell(job("a", { percent: 10 })), tell(job("a", { percent: 60 })));
  assert.equal(state.jobs.a.percent, 60);
});

test("a job that ended stays ended, whatever arrives late", () => {
  const state = fold(tell(ended("a", "completed")), tell(job("a", { percent: 60 })));
  assert.equal(state.jobs.a.status, "completed");
});

test("what the server does not have any more is forgotten after a reconnect", () => {
  const state = fold(tell(job("a")), tell(job("b")), { type: "ready", ids: ["b"] });
  assert.deepEqual(Object.keys(state.jobs), ["b"]);
  assert.equal(state.isReady, true);
});

test("a list without files leaves the files that are known", () => {
  const { files, ...brief } = job("a", { percent: 70 });
  const state = fold(tell(job("a")), { type: "listed", jobs: [brief], at: 1 });
  assert.equal(state.jobs.a.percent, 70);
  assert.deepEqual(
    state.jobs.a.files.map(({ file: name }) => name),
    ["a"],
  );
});

test("running jobs come first, then queued ones, then the ended ones with the last first", () => {
  const state = fold(
    tell(ended("old", "completed", { finished_at: "2026-11-20T05:00:00.000Z" })),
    tell(ended("new", "failed", { finished_at: "2026-11-20T05:30:00.000Z" })),
    tell(job("next", { status: "queued", started_at: null })),
    tell(job("now")),
  );
  assert.deepEqual(ids(store.shownJobs(state)), ["now", "next", "new", "old"]);
});

test("a retried job gives way to its retry, and is cleared with it", () => {
  const state = fold(
    tell(ended("first", "failed")),
    tell(ended("second", "cancelled", { retry_of: "first" })),
    tell(job("third", { retry_of: "second" })),
  );
  assert.deepEqual(ids(store.shownJobs(state)), ["third"]);
  assert.deepEqual(store.lineage(state, "third"), ["third", "second", "first"]);
});

test("an action is pending until the job it began is seen", () => {
  const asked = fold({ type: "asked", key: "install m" });
  assert.equal(store.standing(asked, model("m")), "starting");
  const answered = store.reduce(asked, { type: "answered", key: "install m", jobId: "a" });
  assert.equal(store.standing(answered, model("m")), "starting");
  assert.deepEqual(store.reduce(answered, tell(job("a"))).pending, {});
});

test("an action whose job was seen before its answer is over with the answer", () => {
  const state = fold({ type: "asked", key: "install m" }, tell(job("a")), {
    type: "answered",
    key: "install m",
    jobId: "a",
  });
  assert.deepEqual(state.pending, {});
});

test("an action that failed is no longer pending", () => {
  assert.deepEqual(fold({ type: "asked", key: "x" }, { type: "answered", key: "x" }).pending, {});
});

test("an action whose job is unknown after a reconnect is no longer pending", () => {
  const state = fold(
    { type: "asked", key: "install m" },
    { type: "answered", key: "install m", jobId: "gone" },
    { type: "ready", ids: [] },
  );
  assert.deepEqual(state.pending, {});
});

test("a model stands as its job does, else as the disk does", () => {
  const state = fold(tell(job("a", { model: "m" })), tell(ended("b", "completed", { model: "n" })));
  assert.equal(store.standing(state, model("m", { present: true })), "active");
  assert.equal(store.standing(state, model("n", { present: true })), "present");
  assert.equal(store.standing(state, model("o", { partial: 5 })), "partial");
  assert.equal(store.standing(state, model("p")), "absent");
});

test("the figures of all jobs under way are added up", () => {
  const state = fold(
    tell(job("a", { received: 500, speed: 10 })),
    tell(job("b", { status: "queued", received: 0, speed: null })),
    tell(ended("c", "completed", { received: 1000, speed: 99 })),
  );
  assert.deepEqual(store.overall(state), { running: 1, queued: 1, speed: 10, percent: 25 });
});

test("a countdown goes on between two snapshots and ends at nought", () => {
  const waiting = file("a", { phase: "retrying", wait: 5 });
  const of = job("a", { at: 1000 });
  assert.equal(store.countdown(waiting, of, 3000), 3);
  assert.equal(store.countdown(waiting, of, 60000), 0);
  assert.equal(store.countdown(file("a"), of, 3000), null);
});

test("which source a file was left by is known as long as the reason is shown", () => {
  const at = (source, note, phase) =>
    tell(job("a", { files: [file("f", { source, host: `${source}.example`, note, phase })] }));
  const left = fold(at("mirror", "", "fetching"), at("ipfs", "HTTP 404", "falling back"));
  assert.deepEqual(left.jobs.a.files[0].left, { source: "mirror", host: "mirror.example" });
  const later = store.reduce(left, at("ipfs", "HTTP 404", "fetching"));
  assert.deepEqual(later.jobs.a.files[0].left, { source: "mirror", host: "mirror.example" });
  assert.equal(store.reduce(later, at("ipfs", "", "done")).jobs.a.files[0].left, null);
});

test("of many files those under way or failed are shown, in the order of the plan", () => {
  const files = Array.from({ length: 9 }, (_, index) =>
    file(`f${index}`, { phase: index === 7 ? "fetching" : "queued" }),
  );
  const shown = store.shownFiles(job("a", { files }), 3);
  assert.deepEqual(
    shown.map(({ file: name }) => name),
    ["f0", "f1", "f7"],
  );
  assert.equal(store.shownFiles(job("a", { files }), 9).length, 9);
});

test("only another status or phase is a change, however many bytes came in", () => {
  const before = fold(tell(job("a")), tell(job("b")));
  const after = [
    tell(job("a", { received: 9 })),
    tell(job("b", { phase: "verifying" })),
    tell(job("c")),
  ].reduce(store.reduce, before);
  assert.deepEqual(
    store.changes(before, after).map(([, { job_id: id }]) => id),
    ["b", "c"],
  );
});
