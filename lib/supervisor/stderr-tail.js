'use strict';

// The last lines that a worker has written to stderr: as a rule they say why it has ended.

/** How many lines are kept. */
const LINES = 20;
/** And how many characters, at most. */
const CHARACTERS = 8192;

class StderrTail {
  #text = '';
  #isOpen = false;
  /** @type {(() => void)[]} */
  #waiting = [];

  /** @param {import('node:stream').Readable | null} stream */
  constructor(stream) {
    if (stream === null) return;
    this.#isOpen = true;
    // Characters that are split between two pieces are no loss here.
    stream.on('data', (/** @type {Buffer | string} */ piece) => {
      this.#text = `${this.#text}${piece}`.slice(-CHARACTERS);
    });
    stream.once('close', () => {
      this.#isOpen = false;
      for (const callback of this.#waiting.splice(0)) callback();
    });
  }

  /** @returns {string[]} */
  get lines() {
    return this.#text
      .split('\n')
      .filter((line) => line.trim() !== '')
      .slice(-LINES);
  }

  /** @param {() => void} callback called when nothing more can come */
  ended(callback) {
    if (this.#isOpen) this.#waiting.push(callback);
    else callback();
  }
}

module.exports = { StderrTail };
