/** What can be done: each a request to the server, whose effect comes back with the stream. */

import { HUB_MS, request } from "./api.js";
import { formatSize } from "./format.js";
import { lineage } from "./store.js";
import { entryName, licenseWarning, takenName } from "./words.js";

/**
 * The actions of the panel.
 * @param {object} panel
 * @param {() => object} panel.state the state now
 * @param {(message: object) => void} panel.tell hands a message to the store
 * @param {() => void} panel.redraw
 * @param {() => void} panel.refresh reads the lists again
 * @param {(message: string) => void} panel.say says that something is done
 * @param {(error: Error) => void} panel.failed says why something was not possible
 * @param {() => {details: Function, ask: Function}} panel.dialog
 */
export function createActions({ state, tell, redraw, refresh, say, failed, dialog }) {
  const find = (name) => state().models?.find((model) => model.name === name);

  /** Do something once at a time; `key` names it in the state. */
  async function perform(key, work) {
    if (state().pending[key]) return;
    tell({ type: "asked", key });
    try {
      const answer = await work();
      tell({ type: "answered", key, jobId: answer?.job_id });
    } catch (error) {
      tell({ type: "answered", key });
      failed(error);
    }
  }

  const submit = (body) => request("POST", "v1/jobs", body);
  const operation = (model) => (model?.kind === "worker" ? "worker_download" : "model_download");

  const actions = {
    redraw,
    /** Install a model, after showing what its license asks for. */
    install(name) {
      const model = find(name);
      if (model && licenseWarning(model)) dialog().ask(model);
      else actions.start(name);
    },
    /** Ask before installing, whatever the license: for links from elsewhere. */
    ask: (name) => dialog().ask(find(name)),
    start: (name) =>
      perform(`install ${name}`, () => submit({ operation: operation(find(name)), model: name })),
    verify: (name, repair) =>
      perform(`verify ${name}`, () =>
        submit({ operation: "model_verify", model: name, ...(repair && { repair }) }),
      ),
    cancel: (id) => perform(`cancel ${id}`, () => unless(409, request("DELETE", `v1/jobs/${id}`))),
    retry: (id) => perform(`retry ${id}`, () => request("POST", `v1/jobs/${id}/retry`, {})),
    clear: (id) => perform(`clear ${id}`, () => clear(lineage(state(), id))),
    clearAll: () => perform("clear all", () => request("POST", "v1/jobs/clear", {})),
    /** Ask before the bytes of a model are removed. */
    askRemove: (model) => dialog().askRemove(model),
    remove: (name) =>
      perform(`remove ${name}`, async () => {
        const { freed } = await request("DELETE", `v1/models/${encodeURIComponent(name)}`);
        refresh();
        say(`${name} was removed; ${formatSize(freed)} are free again.`);
      }),
    /** Ask before data that failed verification goes back, or is deleted. */
    askRestore: (entry) => dialog().askRestore(entry),
    askPurge: (entry) => dialog().askPurge(entry),
    restore: (entry) =>
      perform(`entry ${entry.id}`, async () => {
        const { path } = await request("POST", `v1/quarantine/${encodeURIComponent(entry.id)}/restore`, {});
        refresh();
        say(`The data is at ${path} again. It is still not verified.`);
      }),
    purge: (entry) =>
      perform(`entry ${entry.id}`, async () => {
        const { freed } = await request("DELETE", `v1/quarantine/${encodeURIComponent(entry.id)}`);
        refresh();
        say(`${entryName(entry)} was deleted from quarantine; ${formatSize(freed)} are free again.`);
      }),
    /** Show what a reference would be pinned as. */
    lookUp: (asked) =>
      perform("look up", async () => {
        try {
          dialog().pin(asked, await request("POST", "v1/pins", { ...asked, dry_run: true }, HUB_MS));
        } catch (error) {
          if (!takenName(error)) throw error;
          dialog().rename(asked, error);
        }
      }),
    /** Add what was shown to the catalog, and install it if wanted. */
    add: (asked, isInstalled) =>
      perform("look up", async () => {
        const { name, kind } = await request("POST", "v1/pins", asked, HUB_MS);
        refresh();
        say(`${name} was added to the catalog.`);
        // Its license was shown with its files, so it is not asked about again.
        if (isInstalled) await submit({ operation: operation({ kind }), model: name });
      }),
    /** Show one model in full. */
    async open(name) {
      try {
        dialog().details(await request("GET", `v1/models/${encodeURIComponent(name)}`), state());
      } catch (error) {
        failed(error);
      }
    },
  };
  return actions;
}

async function clear(ids) {
  for (const id of ids) await unless(404, request("POST", "v1/jobs/clear", { job_id: id }));
}

/** An answer that only says that somebody else was quicker is no failure. */
async function unless(status, answer) {
  try {
    return await answer;
  } catch (error) {
    if (error.status !== status) throw error;
    return null;
  }
}
