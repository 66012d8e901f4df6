'use strict';

// The engines that this process serves or uses, by what they are called: for whoever observes the process. Needs nothing of the addons.

const EventEmitter = require('node:events');

/** @typedef {{ users: number, connect: () => number | Promise<number> }} Known by which a connection is had: its descriptor */

class Engines extends EventEmitter {
  /** @type {Map<string, Known>} */
  #known = new Map();

  /** @returns {string[]} */
  names() {
    return [...this.#known.keys()];
  }

  /**
   * One more serves or uses it, until the function is called that this returns.
   *
   * @param {string} name
   * @param {() => number | Promise<number>} connect gives the descriptor of another connection to it
   */
  add(name, connect) {
    const known = this.#known.get(name) ?? { users: 0, connect };
    known.users += 1;
    if (known.users === 1) {
      this.#known.set(name, known);
      this.emit('added', name);
    }
    let isThere = true;
    return () => {
      if (!isThere) return;
      isThere = false;
      known.users -= 1;
      if (known.users > 0) return;
      this.#known.delete(name);
      this.emit('removed', name);
    };
  }

  /**
   * @param {string} name
   * @returns {Promise<number | undefined>} the descriptor of a connection, which is the caller's; undefined if it is not there any more
   */
  async connect(name) {
    return this.#known.get(name)?.connect();
  }
}

module.exports = { engines: new Engines() };
