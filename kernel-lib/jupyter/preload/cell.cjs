/**
 * One execution of one cell: where its text and its displays go, in order, and that nothing comes after its end.
 *
 * Text is collected and sent in pieces (every FLUSH_MS, or PIECE_CHARS characters, or before anything else is sent):
 * 10,000 `console.log` lines become a dozen messages. An asynchronous context remembers which cell a callback belongs
 * to, so that the leftovers of an interrupted cell stay silent even while the next cell runs.
 */
"use strict";

const { AsyncLocalStorage } = require("node:async_hooks");
const { StringDecoder } = require("node:string_decoder");

const FLUSH_MS = 40;
const PIECE_CHARS = 64 * 1024;

const origin = new AsyncLocalStorage();

/** The cell that receives output now, or null between cells. */
let running = null;

class Cell {
  /** `publish(type, content)` sends one iopub message as a child of the execute request. */
  constructor(publish, count) {
    this.publish = publish;
    this.count = count;
    this.ended = false;
    this.interrupted = false;
    this.problems = [];
    this.results = [];
    /** Failures that nobody handled: promise or object -> { reason, kind }. */
    this.rejections = new Map();
    /** What a failed cell says about its variables, or null. */
    this.leftBehind = null;
    this.text = { name: "stdout", pieces: [], length: 0 };
    this.decoders = { stdout: new StringDecoder("utf8"), stderr: new StringDecoder("utf8") };
    this.timer = null;
  }

  /** Runs `body` with this cell as the receiver of all output. */
  async run(body) {
    running = this;
    return origin.run(this, body);
  }

  write(name, chunk) {
    const text = typeof chunk === "string" ? chunk : this.decoders[name].write(Buffer.from(chunk));
    if (text === "") return;
    if (this.text.name !== name) this.flush();
    this.text.name = name;
    this.text.pieces.push(text);
    this.text.length += text.length;
    if (this.text.length >= PIECE_CHARS) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), FLUSH_MS);
  }

  flush() {
    clearTimeout(this.timer);
    this.timer = null;
    const { name, pieces } = this.text;
    if (pieces.length === 0) return;
    this.text = { name, pieces: [], length: 0 };
    this.publish("stream", { name, text: pieces.join("") });
  }

  /** Sends any other message after the text that came before it. */
  send(type, content) {
    this.flush();
    this.publish(type, content);
  }

  display(data, { id, update = false, metadata = {} } = {}) {
    const transient = id === undefined ? {} : { display_id: id };
    this.send(update ? "update_display_data" : "display_data", { data, metadata, transient });
  }

  end() {
    this.flush();
    this.ended = true;
    if (running === this) running = null;
  }
}

/** The cell that output made here and now belongs to; null: to nobody, keep it out of the notebook. */
function receiver() {
  return isLeftover() ? null : running;
}

/** True if output made here and now is the leftover of an interrupted cell. */
function isLeftover() {
  const from = origin.getStore();
  return from?.ended === true && from.interrupted;
}

/** Sends what the process prints to the running cell; between cells it goes to the kernel's own log. */
function captureStreams() {
  for (const name of ["stdout", "stderr"]) {
    const stream = process[name];
    const log = stream.write.bind(stream);
    stream.write = (chunk, encoding, callback) => {
      const cell = receiver();
      if (cell === null) {
        if (!isLeftover()) return log(chunk, encoding, callback);
      } else {
        cell.write(name, typeof chunk === "string" ? chunk : Buffer.from(chunk));
      }
      const done = typeof encoding === "function" ? encoding : callback;
      if (typeof done === "function") process.nextTick(done);
      return true;
    };
  }
}

module.exports = { Cell, captureStreams, receiver, runningCell: () => running };
