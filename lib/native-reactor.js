'use strict';

// A reactor thread of the core as JavaScript sees it: its events, a bounded batch in each turn of the event loop.

// Not the global one: a program's tests put a clock of their own in its place.
const { setImmediate } = require('node:timers');

const { Ends, asNextEvent } = require('./channel/order');
const { KeepAlive } = require('./util/keep-alive');

/**
 * What a class of the core with a reactor has.
 * @typedef {{ takeEvents: () => any[], mayTakeMore: () => boolean, turnEnded: () => void }} NativeEvents
 */
/** @typedef {(kind: number, id: number, first: any, second: any) => void} OnEvent */

/** For how long one turn of the event loop passes events on, in ms: to whom they go may have much to do with each. */
const TURN_MS = 5;

class NativeReactor {
  #native;
  #onEvent;
  /** Events were taken in the turn of the event loop that is under way. */
  #isTurn = false;
  #turnBegan = 0;
  /** What keeps the process alive. */
  keepAlive = new KeepAlive();
  /** What has to come behind the ends of channels. */
  ends = new Ends(this.keepAlive);

  /**
   * @param {NativeEvents} native
   * @param {OnEvent} onEvent passes an event on
   */
  constructor(native, onEvent) {
    this.#native = native;
    this.#onEvent = onEvent;
  }

  /** Takes what has happened and passes it on; what is too much for one turn of the event loop, in its next one. */
  dispatch() {
    if (!this.#isTurn) {
      this.#isTurn = true;
      this.#turnBegan = performance.now();
      // Of what was taken, everything is delivered by then: in ticks, which come before it.
      setImmediate(() => this.#endTurn()).unref();
    }
    this.#takePortion();
  }

  #takePortion() {
    const events = this.#native.takeEvents();
    for (let index = 0; index < events.length; index += 4) {
      this.#onEvent(events[index], events[index + 1], events[index + 2], events[index + 3]);
    }
    // When these have been delivered, and who waits for them with promises has gone on.
    if (this.#native.mayTakeMore()) asNextEvent(this.#continue);
  }

  #continue = () => {
    if (performance.now() - this.#turnBegan < TURN_MS) this.#takePortion();
  };

  #endTurn() {
    this.#isTurn = false;
    this.#native.turnEnded();
  }

  /**
   * A reactor that has ended has told so by a fault, and has closed every channel: what is asked of it is done.
   *
   * @param {() => void} request
   */
  unlessGone(request) {
    try {
      request();
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ERR_CORRAL_REACTOR_GONE') throw error;
    }
  }

  /**
   * @param {string} code
   * @param {string} message
   */
  warnOfPause(code, message) {
    process.emitWarning(`Accepting connections is paused, there are no resources left: ${message}`, {
      code: 'CORRAL_ACCEPT_PAUSED',
      detail: code,
    });
  }
}

module.exports = { NativeReactor };
