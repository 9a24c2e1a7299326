/** The HTTP API: the token, requests and the streams. The only module that talks to the server. */

import { EventParser } from "./sse.js";

const TOKEN_KEY = "modelfetch.token";

/** The server's heartbeat comes every 10 s; after two and a half of them in silence a stream counts as dead. */
const SILENCE_MS = 25_000;

/** Longest a plain request may take; the server answers from memory. */
const REQUEST_MS = 15_000;

/** Longest a request may take for which the server asks a hub; its own limit is two minutes. */
export const HUB_MS = 135_000;

/** An answer other than success, with what the server says about it. */
export class ApiError extends Error {
  /**
   * @param {number} status HTTP status; 0 where there was no answer
   * @param {{code?: string, message?: string, hint?: string}} error
   */
  constructor(status, { code = "", message = "", hint = "" }) {
    super(message || `The server answered ${status}.`);
    this.status = status;
    this.code = code;
    this.hint = hint;
  }

  /** Whether the token is missing or wrong. */
  get isDenied() {
    return this.status === 401;
  }
}

/** The token of this tab: from the address bar's fragment once, then from the tab's session. */
export const token = {
  value: "",

  /** Take the token out of `#token=...`, where it is in no log and no Referer, and out of the address bar. */
  load() {
    const given = new URLSearchParams(location.hash.slice(1).replaceAll("+", "%2B")).get("token");
    if (given) {
      this.save(given);
      history.replaceState(null, "", location.pathname + location.search);
    } else {
      this.value ||= attempt(() => sessionStorage.getItem(TOKEN_KEY)) ?? "";
    }
    return Boolean(given);
  },

  save(value) {
    this.value = value;
    attempt(() => sessionStorage.setItem(TOKEN_KEY, value));
  },
};

/** Storage may be switched off in a browser; the token then lasts as long as the page. */
function attempt(action) {
  try {
    return action();
  } catch {
    return null;
  }
}

/**
 * Ask the server for something.
 * @param {string} method
 * @param {string} path below the panel's own address, without a slash in front
 * @param {object} [body] sent as JSON
 * @param {number} [limit] longest time it may take, in milliseconds
 * @returns {Promise<any>} the JSON of the answer
 * @throws {ApiError}
 */
export async function request(method, path, body, limit = REQUEST_MS) {
  const response = await send(method, path, {
    body: body === undefined ? undefined : JSON.stringify(body),
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    signal: AbortSignal.timeout(limit),
  });
  const text = await response.text();
  return text ? parse(text) : null;
}

/**
 * Follow a stream until it ends.
 * @param {string} path
 * @param {string} lastId id of the last event already known, or ""
 * @param {AbortSignal} signal ends it
 * @yields {{event: string, id: string, data: string} | null} null once the stream stands
 * @throws {ApiError} it cannot be opened, was cut or fell silent
 */
export async function* stream(path, lastId, signal) {
  const silence = new AbortController();
  const either = AbortSignal.any([signal, silence.signal]);
  const headers = { Accept: "text/event-stream", ...(lastId && { "Last-Event-ID": lastId }) };
  let timer = setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    const response = await send("GET", path, { headers, signal: either });
    yield null;
    const parser = new EventParser();
    for await (const text of pieces(response.body)) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      yield* parser.push(text);
    }
  } finally {
    clearTimeout(timer);
  }
}

async function* pieces(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(lost);
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function send(method, path, options) {
  const headers = { ...options.headers, Authorization: `Bearer ${token.value}` };
  const response = await fetch(new URL(path, document.baseURI), {
    ...options,
    method,
    headers,
    cache: "no-store",
    credentials: "omit",
  }).catch(lost);
  if (!response.ok) throw new ApiError(response.status, await reason(response));
  return response;
}

function lost() {
  throw new ApiError(0, { code: "unreachable", message: "The server cannot be reached." });
}

async function reason(response) {
  const answer = await response.json().catch(() => null);
  return answer?.error ?? {};
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError(0, { code: "bad_answer", message: "The server's answer cannot be read." });
  }
}
