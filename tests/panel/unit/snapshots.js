/** Snapshots as the server sends them. */

export const file = (name, more = {}) => ({
  file: name,
  size: 1000,
  received: 0,
  percent: 0,
  speed: null,
  eta: null,
  phase: "queued",
  status: "queued",
  source: "",
  host: "",
  attempt: 0,
  note: "",
  wait: null,
  ...more,
});

export const job = (id, more = {}) => ({
  job_id: id,
  operation: "model_download",
  model: "m",
  title: "",
  repair: false,
  status: "running",
  phase: "fetching",
  created_at: "2026-11-20T06:00:00.000Z",
  started_at: "2026-11-20T06:00:00.000Z",
  finished_at: null,
  retry_of: null,
  received: 0,
  size: 1000,
  speed: null,
  eta: null,
  percent: 0,
  files_total: 1,
  files_done: 0,
  files: [file("a")],
  waiting: null,
  fetched: 0,
  error: null,
  exit_code: null,
  last_event_id: 0,
  human: "",
  ...more,
});

export const ended = (id, status, more = {}) =>
  job(id, {
    status,
    phase: status === "completed" ? "done" : status,
    finished_at: "2026-11-20T06:00:10.000Z",
    ...more,
  });

export const model = (name, more = {}) => ({
  name,
  present: false,
  partial: 0,
  size: 1000,
  files: 1,
  ...more,
});
