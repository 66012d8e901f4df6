'use strict';

// Requests for messages that nobody waits for any more. What comes for them all the same nobody has seen, and goes back as that.

const { LONGEST_TIMEOUT } = require('../util/longest-timeout');

/** @typedef {import('./frames').FrameReader} FrameReader */

class Abandoned {
  /** What to do with messages, by the number of the request. @type {Map<number, (from: FrameReader) => void>} */
  #requests = new Map();
  /** Whoever waits until there are none. */
  #onNone = () => {};

  /** @param {number} sequence @param {(from: FrameReader) => void} release */
  add(sequence, release) {
    this.#requests.set(sequence, release);
  }

  /** The answer to one has come. @param {number} sequence @param {FrameReader | undefined} from its messages, if it has some */
  answered(sequence, from) {
    const release = this.#requests.get(sequence);
    this.#requests.delete(sequence);
    if (from !== undefined) release?.(from);
    if (this.#requests.size === 0) this.#onNone();
  }

  /** There will be no answers. */
  clear() {
    this.#requests.clear();
    this.#onNone();
  }

  /** @param {number} timeout in milliseconds @returns {Promise<void>} resolves when there are none, or after that time */
  async none(timeout) {
    if (this.#requests.size === 0) return;
    await new Promise((/** @type {(value?: undefined) => void} */ resolve) => {
      const timer = setTimeout(resolve, Math.min(timeout, LONGEST_TIMEOUT));
      this.#onNone = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

module.exports = { Abandoned };
