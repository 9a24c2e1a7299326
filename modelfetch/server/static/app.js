/** The panel: puts the parts together. State goes one way: server, store, views. */

import { createActions } from "./actions.js";
import { token } from "./api.js";
import { createConnection } from "./connection.js";
import { formatRate } from "./format.js";
import { setText, show } from "./dom.js";
import { changes, INITIAL, isEnded, overall, reduce, standing } from "./store.js";
import { announcement, isWorthSaying } from "./words.js";
import { addView } from "./views/add.js";
import { catalogView } from "./views/catalog.js";
import { diskView } from "./views/disk.js";
import { historyView } from "./views/history.js";
import { jobsView } from "./views/jobs.js";
import { announcer, connectionView, notices } from "./views/messages.js";
import { modelDialog } from "./views/model.js";
import { quarantineView } from "./views/quarantine.js";
import { sharingView } from "./views/sharing.js";
import { signIn } from "./views/signin.js";
import { sourcesView } from "./views/sources.js";

const byId = (id) => document.getElementById(id);

let state = INITIAL;
let isDue = false;

const announce = announcer(byId("announcer"));
const notice = notices(byId("notices"));
const connection = createConnection(tell, (error) => entrance.open(error));
const actions = createActions({
  state: () => state,
  tell,
  redraw,
  refresh: () => connection.refresh(),
  say: (message) => notice(message, "", false),
  failed,
  dialog: () => dialog,
});
const dialog = modelDialog(byId("dialog"), actions);
const entrance = signIn(byId("signin"), (value) => {
  token.save(value);
  enter();
});
const views = [
  connectionView(byId("connection"), () => connection.retry()),
  addView(byId("add"), actions),
  catalogView(byId("models"), actions),
  jobsView(byId("downloads"), actions),
  historyView(byId("history")),
  sourcesView(byId("sources"), redraw),
  sharingView(byId("sharing")),
  diskView(byId("disk")),
  quarantineView(byId("quarantine"), actions),
  summary,
];

/** Fold a message in, say what changed, and draw. */
function tell(message) {
  const before = state;
  state = reduce(before, message);
  if (before.isReady) changes(before, state).forEach(([old, job]) => tellChange(old, job));
  if (before.connection.phase !== state.connection.phase) tellConnection(before.connection, state.connection);
  if (state.models && state.isReady) followLink();
  redraw();
}

function tellChange(old, job) {
  if (isWorthSaying(old, job)) announce(job.job_id, announcement(job, job.at));
  if (isEnded(job)) connection.refresh();
}

function tellConnection({ phase: before }, { phase }) {
  if (phase === "lost") announce("connection", "Connection lost, reconnecting.");
  if (phase === "live" && before === "lost") announce("connection", "Connected again.");
}

/** Draw with the next frame; a tab out of sight has no frames, but a title. */
function redraw() {
  if (isDue) return;
  isDue = true;
  if (document.hidden) setTimeout(draw, 1000);
  else requestAnimationFrame(draw);
}

function draw() {
  isDue = false;
  const now = Date.now();
  document.body.dataset.connection = state.connection.phase;
  for (const view of views) view(state, now);
}

function summary() {
  const { running, queued, speed, percent } = overall(state);
  const isBusy = running + queued > 0;
  document.title = isBusy ? `${Math.floor(percent)}% · modelfetch` : "modelfetch";
  setText(byId("summary"), speed && state.connection.phase !== "lost" ? formatRate(speed) : "");
}

function failed(error) {
  if (error.isDenied) entrance.open(error);
  else notice(error.message, error.hint);
}

/** `?install=NAME`: asked once; nothing is fetched because somebody followed a link. */
function followLink() {
  const url = new URL(location.href);
  const name = url.searchParams.get("install");
  if (name === null) return;
  url.searchParams.delete("install");
  history.replaceState(null, "", url.pathname + url.search + url.hash);
  const model = state.models.find((each) => each.name === name || each.aliases.includes(name));
  if (!model) notice(`No catalog has a model called “${name}”.`, "Search the list for what is there.");
  else askFor(model);
}

const NO_NEED = { present: "is installed already", active: "is on its way already" };

function askFor(model) {
  const answer = NO_NEED[standing(state, model)];
  if (answer) notice(`${model.title || model.name} ${answer}.`, "", false);
  else actions.ask(model.name);
}

function enter() {
  entrance.close();
  show(byId("panel"), true);
  connection.start();
}

function start() {
  token.load();
  connection.watch();
  addEventListener("hashchange", () => token.load() && enter());
  addEventListener("keydown", focusSearch);
  setInterval(() => document.hidden || redraw(), 1000);
  if (token.value) enter();
  else entrance.open(null);
}

function focusSearch(event) {
  const isTyping = event.target.closest?.("input, textarea, select, dialog");
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  byId("search").focus();
}

start();
