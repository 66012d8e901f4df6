'use strict';

// One thing at a time: whoever asks for it meanwhile waits for his turn, and all who wait have one turn together.

/**
 * @template T
 */
class Turns {
  #act;
  /** Resolves when the last turn that has begun is over. @type {Promise<void>} */
  #last = Promise.resolve();
  /** The one that has not begun. @type {Promise<T> | undefined} */
  #next;

  /** @param {(isOver: () => void) => Promise<T>} act its turn is over when it has settled, or has called `isOver` before */
  constructor(act) {
    this.#act = act;
  }

  /** @returns {Promise<T>} what has come of it */
  take() {
    this.#next ??= this.#last.then(() => {
      this.#next = undefined;
      let isOver = () => {};
      this.#last = new Promise((resolve) => {
        isOver = resolve;
      });
      return this.#act(isOver).finally(isOver);
    });
    return this.#next;
  }
}

module.exports = { Turns };
