/** A stream that is opened again whenever it breaks, with a back-off, until it is stopped. */

import { ApiError, stream } from "./api.js";

const BASE_MS = 500;
const CAP_MS = 8_000;

/** How long to wait before try number `tries` (from 1): doubling, up to a cap, with jitter between tabs. */
export function backoff(tries, random = Math.random) {
  return Math.min(CAP_MS, BASE_MS * 2 ** (tries - 1)) * (0.75 + random() / 2);
}

/**
 * @typedef {object} Listener
 * @property {() => void} opened the stream stands
 * @property {(event: {event: string, id: string, data: string}) => boolean | void} event true ends it for good
 * @property {(retryAt: number) => void} lost it broke; the time (ms) of the next try
 * @property {(error: Error) => void} refused the server does not want it; no further try
 */

/** One stream, kept alive. */
export class Live {
  #path;
  #listener;
  #stop = new AbortController();
  #wake = () => {};
  #lastId = "";

  /**
   * @param {string} path
   * @param {Listener} listener
   */
  constructor(path, listener) {
    this.#path = path;
    this.#listener = listener;
    this.#run();
  }

  /** End it. */
  stop() {
    this.#stop.abort();
    this.#wake();
  }

  /** Try again now, where a wait is under way. */
  retry() {
    this.#wake();
  }

  async #run() {
    for (let tries = 1; !this.#stop.signal.aborted; tries += 1) {
      const opened = performance.now();
      const end = await this.#follow();
      if (end === "ended" || this.#stop.signal.aborted) return;
      // A stream that stood for a while is a new beginning; one cut at once is not.
      if (performance.now() - opened > CAP_MS) tries = 1;
      await this.#pause(backoff(tries));
    }
  }

  async #follow() {
    try {
      for await (const event of stream(this.#path, this.#lastId, this.#stop.signal)) {
        if (this.#stop.signal.aborted) return "ended";
        if (this.#take(event)) return "ended";
      }
    } catch (error) {
      if (!(error instanceof ApiError)) reportError(error);
      if (error.status >= 400 && error.status < 500 && error.status !== 429) {
        if (!this.#stop.signal.aborted) this.#listener.refused(error);
        return "ended";
      }
    }
    return "lost";
  }

  #take(event) {
    if (event === null) {
      this.#listener.opened();
      return false;
    }
    this.#lastId = event.id;
    return this.#listener.event(event) === true;
  }

  async #pause(milliseconds) {
    this.#listener.lost(Date.now() + milliseconds);
    await new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, milliseconds);
    });
  }
}
