'use strict';

// The buses of this process, for the thread that observes it: it gets a connection to the engine of each, and asks there itself.

const fs = require('node:fs');

const { engines } = require('../bus/engines');

/** After how long one that was lost is looked for again, in milliseconds. */
const PAUSE = 1000;

class Buses {
  #native;
  /** Those that are to be connected again. @type {Map<string, NodeJS.Timeout>} */
  #retries = new Map();
  #isOver = false;

  /** @param {import('./binding').NativeObservation} native */
  constructor(native) {
    this.#native = native;
    engines.on('added', this.#onAdded);
    engines.on('removed', this.#onRemoved);
    for (const name of engines.names()) this.#connect(name);
  }

  close() {
    this.#isOver = true;
    engines.off('added', this.#onAdded);
    engines.off('removed', this.#onRemoved);
    for (const timer of this.#retries.values()) clearTimeout(timer);
  }

  /** The thread has lost a connection. @param {string} name */
  onLost(name) {
    clearTimeout(this.#retries.get(name));
    if (this.#isOver || !engines.names().includes(name)) return;
    this.#retries.set(name, setTimeout(() => this.#connect(name), PAUSE).unref());
  }

  /** @param {string} name */
  async #connect(name) {
    this.#retries.delete(name);
    try {
      const descriptor = await engines.connect(name);
      if (descriptor === undefined) return;
      if (this.#isOver || !engines.names().includes(name)) fs.closeSync(descriptor);
      else this.#native.addBus(name, descriptor);
    } catch {
      // Nobody serves it just now. The bus itself tells its program why.
      this.onLost(name);
    }
  }

  #onAdded = (/** @type {string} */ name) => {
    this.#connect(name);
  };

  #onRemoved = (/** @type {string} */ name) => {
    clearTimeout(this.#retries.get(name));
    this.#retries.delete(name);
    this.#native.removeBus(name);
  };
}

module.exports = { Buses };
