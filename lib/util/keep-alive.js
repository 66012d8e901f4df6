'use strict';

// The core's descriptors are not on Node's event loop; what keeps a process alive in Node (an open channel, a
// listening socket) has to be said here.

const { LONGEST_TIMEOUT } = require('./longest-timeout');

class KeepAlive {
  #count = 0;
  /** @type {NodeJS.Timeout | undefined} */
  #timer = undefined;

  hold() {
    if (++this.#count === 1) this.#timer = setInterval(() => {}, LONGEST_TIMEOUT);
  }

  release() {
    if (--this.#count === 0) clearInterval(this.#timer);
  }
}

module.exports = { KeepAlive };
