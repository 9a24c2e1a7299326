/** The catalog: search, filters, and a row for each model. */

import { clampPercent, formatSize, plural } from "../format.js";
import { h, reconcile, setAttribute, setText, show } from "../dom.js";
import { grouped } from "../groups.js";
import { icon } from "../icons.js";
import { search, stated } from "../search.js";
import { INITIAL, jobOf, standing } from "../store.js";
import { modelFacts, upstreamFlag } from "../words.js";
import { bar } from "./bar.js";
import { button } from "./button.js";

/** On narrow screens the list is cut at so many rows and headings until it is asked for whole (models.css). */
const FEW = 10;

const FILTERS = {
  all: () => true,
  here: (model) => model.present,
  missing: (model) => !model.present,
};

/**
 * The section of the catalog.
 * @param {HTMLElement} root
 * @param {object} actions see actions.js
 */
export function catalogView(root, actions) {
  const view = { query: "", filter: "all", choices: {}, state: INITIAL };
  const parts = {
    list: root.querySelector(".models-list"),
    input: root.querySelector("input[type=search]"),
    filters: [...root.querySelectorAll("[data-filter]")],
    choices: [...root.querySelectorAll("[data-choice]")],
    nothing: root.querySelector(".nothing"),
    faults: root.querySelector(".faults"),
    found: root.querySelector(".found"),
    more: root.querySelector(".show-all"),
  };
  // At once and not with the next frame: the next key may be an arrow into the list.
  listen(parts, view, () => draw(parts, view, actions));
  return (state) => {
    view.state = state;
    draw(parts, view, actions);
  };
}

function listen({ list, input, filters, choices, more }, view, redraw) {
  input.addEventListener("input", () => {
    view.query = input.value;
    list.scrollTop = 0;
    redraw();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") clearSearch(input);
    if (event.key === "ArrowDown") step(event, list, null);
  });
  list.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") step(event, list, input);
  });
  for (const filter of filters) {
    filter.addEventListener("click", () => {
      view.filter = filter.dataset.filter;
      redraw();
    });
  }
  for (const choice of choices) {
    choice.addEventListener("change", () => {
      view.choices[choice.dataset.choice] = choice.value;
      list.scrollTop = 0;
      redraw();
    });
  }
  more.addEventListener("click", () => {
    list.classList.remove("few");
    show(more, false);
  });
}

function clearSearch(input) {
  input.value = "";
  input.dispatchEvent(new Event("input"));
}

/** Move the focus a row up or down, and up out of the list into the search. */
function step(event, list, above) {
  const rows = [...list.querySelectorAll(".model-open")].filter((row) => row.checkVisibility());
  const at = rows.indexOf(event.target.closest(".model")?.querySelector(".model-open"));
  const to = rows[at + (event.key === "ArrowDown" ? 1 : -1)] ?? (event.key === "ArrowUp" ? above : null);
  to?.focus();
  event.preventDefault();
}

function draw(parts, view, actions) {
  const { state } = view;
  const all = state.models ?? [];
  for (const choice of parts.choices) offer(choice, all, view);
  const models = all.filter((model) => isChosen(model, view.choices));
  const found = search(models.filter(FILTERS[view.filter]), view.query);
  reconcile(
    parts.list,
    entries(found, view),
    ({ model, group }) => model?.name ?? `# ${group.name}`,
    (item) => (item.group ? heading() : row(item, actions)),
  );
  for (const filter of parts.filters) {
    setAttribute(filter, "aria-pressed", String(filter.dataset.filter === view.filter));
    setText(filter.querySelector(".number"), String(models.filter(FILTERS[filter.dataset.filter]).length));
  }
  show(parts.nothing, state.models !== null && found.length === 0);
  show(parts.list, found.length > 0);
  setText(parts.nothing, view.query ? `No model matches “${view.query}”.` : "No models here.");
  const isNarrowed = view.query || Object.values(view.choices).some(Boolean);
  setText(parts.found, isNarrowed ? `${found.length} found` : "");
  drawFaults(parts.faults, state.faults);
  show(parts.more, parts.list.children.length > FEW && parts.list.classList.contains("few"));
  setText(parts.more, `Show all ${found.length} models`);
}

/** Offer what the models state; it is hidden while there is nothing to choose. */
function offer(choice, models, view) {
  const key = choice.dataset.choice;
  const values = stated(models, key);
  if (models.length && !values.some(([value]) => value === view.choices[key])) view.choices[key] = "";
  const options = [["", choice.dataset.every], ...values.map(([value, count]) => [value, `${value} (${count})`])];
  reconcile(choice, options, ([value]) => `= ${value}`, option);
  choice.value = view.choices[key] ?? "";
  show(choice, values.length > 1);
}

function option([value]) {
  const element = h("option", { value });
  return { element, update: ([, text]) => setText(element, text) };
}

function isChosen(model, choices) {
  return Object.entries(choices).every(([key, value]) => !value || model[key] === value);
}

/** The rows: what was searched for by how well it fits, everything else in groups under headings. */
function entries(found, { query, state }) {
  const rows = (models) => models.map((model) => ({ model, state }));
  if (query) return rows(found);
  const isHere = (model) => standing(state, model) !== "absent";
  return grouped(found, isHere).flatMap((group) => [{ group }, ...rows(group.models)]);
}

function heading() {
  const name = h("h3");
  const count = h("span.number");
  return {
    element: h("li.model-group", {}, name, count),
    update({ group }) {
      setText(name, group.name);
      setText(count, String(group.models.length));
    },
  };
}

/** Manifests that are wrong are no models, but nobody should wonder where they went. */
function drawFaults(element, faults) {
  const [first] = faults;
  show(element, Boolean(first));
  setText(
    element,
    first ? `${plural(faults.length, "manifest")} left out. ${first.name}: ${first.message}` : "",
  );
}

function row({ model }, actions) {
  const name = model.name;
  const here = h("span.model-here", {}, icon("check"), h("span", { text: "Installed" }));
  const install = button("Install", { look: "small", onClick: () => actions.install(name) });
  const facts = h("span.model-facts");
  const progress = bar(`Download of ${name}`, "bar-thin");
  const title = h("span.model-title");
  const open = h("button.model-open", { type: "button", onClick: () => actions.open(name) }, title, facts);
  const kind = h("span.tag");
  const element = h(
    "li.model",
    { "data-model": name },
    open,
    h("div.model-side", {}, kind, here, install.element),
    progress.element,
  );
  return {
    element,
    update: (item) => update(item, { element, title, facts, kind, here, install, progress }),
  };
}

function update({ model, state }, parts) {
  const now = standing(state, model);
  const job = jobOf(state, model.name);
  const held = now === "partial" ? `${formatSize(model.partial)} held` : "";
  setAttribute(parts.element, "data-standing", now);
  setText(parts.title, model.title || model.name);
  setAttribute(parts.title, "title", model.title || model.name);
  const facts = [...modelFacts(model), held, upstreamFlag(model), model.title && model.name];
  setText(parts.facts, facts.filter(Boolean).join(" · "));
  setText(parts.kind, model.kind);
  show(parts.kind, model.kind !== "model");
  show(parts.here, now === "present");
  parts.install.update(installButton(now, job, model));
  show(parts.progress.element, now === "active");
  if (job) parts.progress.update({ percent: job.percent, text: job.phase, phase: job.phase });
}

const VERBS = { absent: "Install", partial: "Resume", starting: "Starting…" };

function installButton(now, job, model) {
  const words = now === "active" ? activeWords(job) : (VERBS[now] ?? "");
  const isBusy = now === "active" || now === "starting";
  return { words, label: `${words} ${model.title || model.name}`, isBusy, isShown: now !== "present" };
}

function activeWords(job) {
  if (job.status === "queued") return "Queued";
  if (job.phase === "planning") return "Starting…";
  if (job.operation === "model_verify") return "Verifying…";
  return `${Math.floor(clampPercent(job.percent))}%`;
}
