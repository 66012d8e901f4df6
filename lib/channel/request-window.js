'use strict';

// How many requests between two workers may be under way at once. Either of them answers all that comes, so neither can let the other
// wait by not reading it: both would wait for each other. Who asks waits here instead, and with it what is sent behind, so that all
// keeps its order. Replies do not wait: the other's requests may be waiting for them.

/** @typedef {import('./completions').Outgoing} Outgoing */

/** How many of one's requests may be unanswered: as many replies as a primary keeps for a worker before it reads no more of it. */
const MOST_UNDER_WAY = 16_384;

class RequestWindow {
  #send;
  /** The numbers of those that are under way. @type {Set<number>} */
  #underWay = new Set();
  /** What waits, in its order. @type {Outgoing[]} */
  #waiting = [];
  /** How many of these have gone. */
  #gone = 0;

  /** @param {(outgoing: Outgoing) => void} send sends one that has waited, and does not throw */
  constructor(send) {
    this.#send = send;
  }

  /**
   * @param {import('./channel').SendOptions} options of a message that is about to be sent
   * @returns {boolean} whether it has to wait, by `wait`
   */
  mustWait({ request, isReply }) {
    if (isReply) return false;
    if (this.#waiting.length > 0 || !this.#mayGo(request)) return true;
    if (request !== undefined) this.#underWay.add(request);
    return false;
  }

  /** @param {Outgoing} outgoing */
  wait(outgoing) {
    this.#waiting.push(outgoing);
  }

  /** @param {number} request has its reply, or is not waited for any more */
  settled(request) {
    if (this.#underWay.delete(request)) this.#goOn();
  }

  /** @param {number | undefined} request */
  #mayGo(request) {
    return request === undefined || this.#underWay.size < MOST_UNDER_WAY;
  }

  #goOn() {
    while (this.#gone < this.#waiting.length) {
      const outgoing = this.#waiting[this.#gone];
      const { request } = outgoing.options;
      if (!this.#mayGo(request)) return;
      this.#gone++;
      if (request !== undefined) this.#underWay.add(request);
      this.#send(outgoing);
    }
    this.take();
  }

  /** @returns {Outgoing[]} what has not gone, which is forgotten here */
  take() {
    const left = this.#waiting.slice(this.#gone);
    this.#waiting = [];
    this.#gone = 0;
    return left;
  }
}

module.exports = { RequestWindow };
