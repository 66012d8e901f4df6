'use strict';

// Which worker has come for which: how often those before it have ended, and how. With a supervisor that is its slot; without one,
// a worker takes the place of the one that ended first and has had no successor.

const { slots } = require('../util/slots');

/** How many workers that have ended wait for one that takes their place. */
const MAX_VACANT = 1000;

/** @typedef {Record<string, number>} Restarts by how workers have ended */

class Places {
  /** @type {Map<object, Restarts>} */
  #ofWorkers = new Map();
  /** @type {Map<number, Restarts>} */
  #ofSlots = new Map();
  /** Of workers that have ended, the first one first. @type {Restarts[]} */
  #vacant = [];

  /** @param {object} worker @returns {Restarts} */
  add(worker) {
    const slot = slots.get(worker);
    const restarts = slot === undefined ? (this.#vacant.shift() ?? {}) : (this.#ofSlots.get(slot) ?? {});
    if (slot !== undefined) this.#ofSlots.set(slot, restarts);
    this.#ofWorkers.set(worker, restarts);
    return restarts;
  }

  /**
   * @template {object} T
   * @param {T} worker that has ended
   * @param {string} how
   * @returns {{ worker: T, restarts: Restarts } | undefined} who has its place already
   */
  remove(worker, how) {
    const restarts = this.#ofWorkers.get(worker) ?? this.add(worker);
    this.#ofWorkers.delete(worker);
    restarts[how] = (restarts[how] ?? 0) + 1;
    if (slots.get(worker) !== undefined) {
      const next = [...this.#ofWorkers].find(([, theirs]) => theirs === restarts);
      return next && { worker: /** @type {T} */ (next[0]), restarts };
    }
    this.#vacant.push(restarts);
    // Nobody comes for all of them.
    if (this.#vacant.length > MAX_VACANT) this.#vacant.shift();
    return undefined;
  }
}

module.exports = { Places };
