'use strict';

// config.sync: a request is sent when the one before it has been answered.

class Queue {
  /** @type {(() => void)[]} */
  #requests = [];
  /** Whether an answer is awaited. */
  #isWaiting = false;
  #isOpen = false;

  /** The requests that have not been sent. */
  get contents() {
    return this.#requests;
  }

  /** @param {() => void} send */
  add(send) {
    this.#requests.push(send);
    if (!this.#isWaiting) this.next();
  }

  /** The answer is here, or none is awaited any more. */
  next() {
    this.#isWaiting = false;
    if (!this.#isOpen) return;
    const send = this.#requests.shift();
    if (send === undefined) return;
    this.#isWaiting = true;
    send();
  }

  clear() {
    this.#requests = [];
  }

  /** There is a connection. An answer that another one owes will not come. */
  open() {
    this.#isOpen = true;
    this.next();
  }

  /** There is none. Requests that have not been sent wait for the next. */
  close() {
    this.#isOpen = false;
  }
}

module.exports = { Queue };
