'use strict';

// What goes out to the engine: all of one turn of the event loop together.

const { FrameWriter } = require('./frame-writer');

/** @typedef {import('./frame-writer').Slab} Slab */
/** Bytes that go out. @typedef {{ slab: Slab, start: number, end: number }} Piece */

class Outbox {
  /** By which all frames are written. */
  writer = new FrameWriter();
  /** @type {Piece[]} */
  #pieces = [];
  /** Whether the end of this turn is waited for, and what `performance.now()` was when it began to be. */
  #isDue = false;
  #now = 0;
  /** Who has something to say then. @type {(() => void)[]} */
  #turnEnds = [];
  #socket;
  #onTurnEnd = () => this.#flush();

  /** @param {() => import('node:net').Socket | undefined} socket to which all goes */
  constructor(socket) {
    this.#socket = socket;
  }

  /** @param {Slab} slab @param {number} start @param {number} end */
  push(slab, start, end) {
    const last = this.#pieces.at(-1);
    if (last !== undefined && last.slab === slab && last.end === start) {
      last.end = end;
    } else {
      slab.users += 1;
      this.#pieces.push({ slab, start, end });
    }
    this.#flushSoon();
  }

  /** Nothing of it goes out. */
  clear() {
    const pieces = this.#pieces;
    this.#pieces = [];
    for (const { slab } of pieces) this.writer.release(slab);
  }

  /** Has somebody called when this turn is over, right before all of it goes out. @param {() => void} callback */
  atTurnEnd(callback) {
    this.#turnEnds.push(callback);
    this.#flushSoon();
  }

  /** What `performance.now()` is in this turn: it is looked at once. */
  now() {
    this.#flushSoon();
    return this.#now;
  }

  #flushSoon() {
    if (this.#isDue) return;
    this.#isDue = true;
    this.#now = performance.now();
    process.nextTick(this.#onTurnEnd);
  }

  #flush() {
    while (this.#turnEnds.length > 0) {
      const callbacks = this.#turnEnds;
      this.#turnEnds = [];
      for (const callback of callbacks) callback();
    }
    this.#isDue = false;
    const socket = this.#socket();
    if (socket === undefined || this.#pieces.length === 0) return;
    const pieces = this.#pieces;
    this.#pieces = [];
    for (const { slab, start, end } of pieces) {
      socket.write(slab.bytes.subarray(start, end));
      // What the socket has not taken at once it reads later.
      if (socket.writableLength > 0) slab.isReusable = false;
      this.writer.release(slab);
    }
  }
}

module.exports = { Outbox };
