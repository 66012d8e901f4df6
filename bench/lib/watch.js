'use strict';

const { fdCount } = require('./proc');

const SAMPLE_MILLISECONDS = 20;

/** Follows a process's number of open fds. */
class FdWatch {
  #pid;
  #timer;
  /** The most that were seen. */
  max = 0;

  /** @param {number} pid */
  constructor(pid) {
    this.#pid = pid;
    this.#sample();
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MILLISECONDS);
  }

  #sample() {
    this.max = Math.max(this.max, fdCount(this.#pid));
  }

  stop() {
    clearInterval(this.#timer);
    return this.max;
  }
}

/**
 * Waits until a process's number of fds has stayed the same for a while.
 * @param {number} pid
 * @param {{ quietSeconds: number, limitSeconds: number }} bounds the limit ends the wait in any case
 * @returns {Promise<number>} the number
 */
function settledFdCount(pid, { quietSeconds, limitSeconds }) {
  const limit = performance.now() + limitSeconds * 1000;
  let last = fdCount(pid);
  let since = performance.now();
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      const now = performance.now();
      const current = fdCount(pid);
      if (current !== last) since = now;
      last = current;
      if (now - since < quietSeconds * 1000 && now < limit && Number.isFinite(current)) return;
      clearInterval(timer);
      resolve(current);
    }, SAMPLE_MILLISECONDS);
  });
}

module.exports = { FdWatch, settledFdCount };
