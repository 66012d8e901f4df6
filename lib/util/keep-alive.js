'use strict';

// The core's descriptors are not on Node's event loop. An open channel or a listening socket keeps the process alive by this.

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
