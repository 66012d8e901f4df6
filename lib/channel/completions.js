'use strict';

// Messages that the core could not write at once. Their callbacks are called when it has written them. When it cannot, some are kept
// for the next connection.

const { sizeOf } = require('./native-writer');
const { Origin } = require('../util/origin');

/** @typedef {import('./channel').SendCallback} SendCallback */
/** @typedef {import('./channel').SendOptions} SendOptions */

/**
 * A message on its way.
 * @typedef {object} Outgoing
 * @property {any} message
 * @property {any} handle
 * @property {SendOptions} options
 * @property {SendCallback | undefined} callback
 * @property {string | Buffer} [frame] the message as it was when it was sent, where there are bounds
 * @property {number} [order] among all that have been sent
 * @property {Origin} [origin] in which its callback is called, if that has one and is not called in the same turn
 */

/**
 * Messages that were given to the core together.
 * @typedef {object} Batch
 * @property {Outgoing[]} messages
 */

/**
 * The async context of a callback: that of its own `send`, as Node's has. To be called there. The callbacks of requests and replies are
 * corral's own, and need none.
 *
 * @param {SendOptions} options
 * @param {SendCallback | undefined} callback
 * @returns {Origin | undefined}
 */
function originOf({ request, isReply }, callback) {
  const isProgram = typeof callback === 'function' && request === undefined && !isReply;
  return isProgram ? new Origin('CORRALWRITE') : undefined;
}

/**
 * @param {Outgoing} outgoing
 * @param {(...args: any[]) => void} work
 * @param {any[]} args
 */
function inOrigin({ origin }, work, ...args) {
  if (origin === undefined) work(...args);
  else origin.runInAsyncScope(work, undefined, ...args);
}

/**
 * @param {Outgoing[]} messages
 * @param {Error | null} error
 * @param {boolean} isAlone nobody else is called back in this turn
 */
function callBack(messages, error, isAlone = messages.length === 1) {
  for (const outgoing of messages) {
    const { callback } = outgoing;
    if (typeof callback !== 'function') continue;
    // A callback that throws must not cost the others theirs.
    if (isAlone) inOrigin(outgoing, callback, error);
    else inOrigin(outgoing, process.nextTick, callback, error);
  }
}

/** @param {Outgoing[]} messages whose callbacks are called later; those of an earlier `send` have its context */
function bindToHere(messages) {
  for (const outgoing of messages) outgoing.origin ??= originOf(outgoing.options, outgoing.callback);
}

class Completions {
  #control;
  #keepsUnwritten;
  /** By number. @type {Map<number, Batch>} */
  #unwritten = new Map();
  /** The messages of the last of them. @type {Outgoing[]} */
  #newest = [];
  /** What was not written before the connection was lost, where it is kept. @type {Outgoing[]} */
  #kept = [];
  /** The number under which the core reports that it has written the next messages. */
  next = 1;

  /**
   * @param {{ refCounted: () => void, unrefCounted: () => void }} control of the channel, which is needed while something is unwritten
   * @param {boolean} keepsUnwritten whether what cannot be written waits for the next connection
   */
  constructor(control, keepsUnwritten) {
    this.#control = control;
    this.#keepsUnwritten = keepsUnwritten;
  }

  /** Whether the core has something that is still to be written. */
  get isWaiting() {
    return this.#unwritten.size > 0;
  }

  /** @param {Outgoing[]} messages that the core has queued under the number `next` */
  add(messages) {
    bindToHere(messages);
    this.#unwritten.set(this.next, { messages });
    this.#newest = messages;
    this.next = (this.next + 1) >>> 0;
    this.#control.refCounted();
  }

  /**
   * The core has written these at once. If others wait, the core has written those too, and is about to report it: the callbacks of
   * these come behind.
   *
   * @param {Outgoing[]} messages
   */
  written(messages) {
    if (this.isWaiting) {
      bindToHere(messages);
      this.#newest.push(...messages);
      return;
    }
    callBack(messages, null, false);
  }

  /**
   * The core has written what it queued, or never will.
   *
   * @param {number} number
   * @returns {Batch | undefined} to be settled
   */
  take(number) {
    const batch = this.#unwritten.get(number);
    if (batch === undefined) return undefined;
    this.#unwritten.delete(number);
    this.#control.unrefCounted();
    return batch;
  }

  /**
   * @param {Batch} batch
   * @param {Error | null} error
   * @param {number} written with an error: how many bytes have been written all the same
   */
  settle({ messages }, error, written) {
    if (error === null) callBack(messages, null);
    else this.#giveUp(messages, error, written);
  }

  /**
   * The end came before all were written. Those that were written whole may have been read, and are not sent again.
   *
   * @param {Outgoing[]} messages
   * @param {Error} error
   * @param {number} written
   */
  #giveUp(messages, error, written) {
    let end = 0;
    const isWhole = (/** @type {Outgoing} */ { frame }) => {
      end += frame === undefined ? Number.POSITIVE_INFINITY : sizeOf(frame);
      return end <= written;
    };
    const first = messages.findIndex((outgoing) => !isWhole(outgoing));
    const unsent = first < 0 ? [] : messages.slice(first);
    const isAlone = messages.length === 1;
    const failed = unsent.filter((outgoing) => !this.keep(outgoing));
    callBack(messages.slice(0, messages.length - unsent.length), null, isAlone);
    callBack(failed, error, isAlone);
  }

  /**
   * Keeps a message that could not be written to this connection for the next one.
   *
   * @param {Outgoing} outgoing
   * @returns {boolean} whether it is kept
   */
  keep(outgoing) {
    const isKept = this.#keepsUnwritten && outgoing.frame !== undefined;
    if (isKept) this.#kept.push(outgoing);
    return isKept;
  }

  /** @returns {Outgoing[]} what was kept */
  takeKept() {
    const kept = this.#kept;
    this.#kept = [];
    return kept;
  }
}

module.exports = { Completions, inOrigin, originOf };
