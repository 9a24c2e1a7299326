/**
 * Server-sent events read from a fetch response.
 *
 * `EventSource` cannot send an Authorization header, so the stream is parsed here
 * (https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream).
 */

/** Turns pieces of a stream into events; a piece may end anywhere. */
export class EventParser {
  #rest = "";
  #data = [];
  #event = "";
  #id = "";

  /**
   * Take the next piece of the stream.
   * @param {string} text
   * @returns {{event: string, id: string, data: string}[]} the events it completes
   */
  push(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    return lines.map((line) => this.#take(line)).filter(Boolean);
  }

  #take(line) {
    if (line === "") return this.#dispatch();
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === "data") this.#data.push(value);
    if (field === "event") this.#event = value;
    if (field === "id" && !value.includes("\0")) this.#id = value;
    return null;
  }

  #dispatch() {
    const event = { event: this.#event || "message", id: this.#id, data: this.#data.join("\n") };
    const isEmpty = this.#data.length === 0;
    this.#data = [];
    this.#event = "";
    return isEmpty ? null : event;
  }
}
