'use strict';

// What keeps the process alive because of a channel.

const EventEmitter = require('node:events');

/**
 * What keeps the process alive.
 * @typedef {object} Holding
 * @property {() => void} refCounted something needs the channel
 * @property {() => void} unrefCounted
 * @property {() => void} release the channel is gone, and nothing needs it any more
 */

/** `subprocess.channel`: whether the channel keeps the process alive. It does from the start. */
class Control extends EventEmitter {
  #keepAlive;
  #fd;
  #refs;
  #explicit = false;
  #held = false;

  /**
   * @param {import('../util/keep-alive').KeepAlive} keepAlive
   * @param {() => number} fd the descriptor that is read: a channel may change it once
   * @param {number} refs how many things need it from the start, and are not counted off
   */
  constructor(keepAlive, fd, refs) {
    super();
    this.#refs = refs;
    this.#keepAlive = keepAlive;
    this.#fd = fd;
    this.#hold(true);
  }

  /** @param {boolean} held */
  #hold(held) {
    if (held === this.#held) return;
    this.#held = held;
    if (held) this.#keepAlive.hold();
    else this.#keepAlive.release();
  }

  /** Counts something that needs the channel, unless the program has decided. */
  refCounted() {
    if (++this.#refs === 1 && !this.#explicit) this.#hold(true);
  }

  unrefCounted() {
    if (--this.#refs === 0 && !this.#explicit) {
      this.#hold(false);
      this.emit('unref');
    }
  }

  ref() {
    this.#explicit = true;
    this.#hold(true);
  }

  unref() {
    this.#explicit = true;
    this.#hold(false);
  }

  hasRef() {
    return this.#held;
  }

  get fd() {
    return this.#fd();
  }

  /** The channel is gone and can keep nothing alive any more. */
  release() {
    this.#explicit = true;
    this.#hold(false);
  }
}

module.exports = { Control };
