'use strict';

// How a channel's messages get to the core: one by one, or several of one turn together; what waits there, and who is
// called back.

const os = require('node:os');

const errors = require('../errors');
const { limits } = require('../limits');
const { Origin } = require('../util/origin');

/** @typedef {import('./channel').Owner} Owner */
/** @typedef {import('./channel').Bounds} Bounds */
/** @typedef {import('./channel').SendOptions} SendOptions */
/** @typedef {import('./channel').SendCallback} SendCallback */
/** @typedef {import('./channel').Target} Target */
/** @typedef {import('../serialization').Serialization} Serialization */
/** @typedef {import('../node-internals').RawHandle} RawHandle */

/**
 * A message on its way.
 * @typedef {object} Outgoing
 * @property {any} message
 * @property {any} handle
 * @property {SendOptions} options
 * @property {SendCallback | undefined} callback
 * @property {string | Buffer} [frame] the message as it was when it was sent, where there are bounds
 * @property {number} [order] among all that have been sent
 */

/**
 * How much of what was large in messages is copied, in characters or bytes, before they go out: the peer is to have something to do
 * while this side copies the next. See docs/performance.md.
 */
const APART_BATCH = 256 * 1024;
/** How many bytes a character of a string becomes at most. */
const BYTES_PER_UNIT = 3;
/** What is said to a handle without a descriptor. */
const NO_DESCRIPTOR = -os.constants.errno.EBADF;
/** What the core says to a message for which there is no room, to one that is too large, and when nobody is there. */
const QUEUE_FULL = -os.constants.errno.ENOBUFS;
const TOO_LARGE = -os.constants.errno.EMSGSIZE;
const PEER_GONE = -os.constants.errno.EPIPE;
/** As if the core had a byte that is still to be written. */
const QUEUED_ELSEWHERE = 1;

/**
 * @param {string | Buffer} frame
 * @returns {number} how many bytes it is on the wire
 */
function sizeOf(frame) {
  return typeof frame === 'string' ? Buffer.byteLength(frame) + 1 : frame.length;
}

class Sending {
  #limits = limits();
  #owner;
  #sends;
  #child;
  #serialization;
  #bounds;
  #control;
  #id;
  /** What could not be written at once, by completion. @type {Map<number, Outgoing[]>} */
  #unwritten = new Map();
  /** Who sent those of them that have callbacks, by completion. @type {Map<number, Origin>} */
  #origins = new Map();
  /** The last of them. @type {Outgoing[]} */
  #newest = [];
  /** What was not written before the connection was lost, where it is kept. @type {Outgoing[]} */
  #left = [];
  #nextCompletion = 1;
  #nextOrder = 0;
  /** What goes out together. @type {Outgoing[]} */
  #batch = [];
  #batchUnits = 0;
  /** How much has been copied beside it. */
  #apartUnits = 0;
  /** How many bytes the core had to queue when it was last given something. */
  #queuedBytes = 0;
  /** Something has been sent in this turn: what is sent now joins the batch. */
  #isTurn = false;
  /** The largest message that may join a batch. */
  #maxBatched;
  #isCatchingUp = false;
  #takesPieces = false;
  /** Everything was written when something was sent last, and the peer had much of it unread. */
  #isFarBehind = false;
  /** `send` has answered false, and the program is to be told when it may go on. */
  #needsDrain = false;

  /**
   * @param {Owner} owner
   * @param {number} id
   * @param {object} channel
   * @param {Target} channel.child
   * @param {Serialization} channel.serialization
   * @param {Bounds | undefined} channel.bounds
   * @param {{ refCounted: () => void, unrefCounted: () => void }} channel.control
   */
  constructor(owner, id, { child, serialization, bounds, control }) {
    this.#owner = owner;
    this.#sends = owner.sends;
    this.#id = id;
    this.#child = child;
    this.#serialization = serialization;
    this.#bounds = bounds;
    this.#control = control;
    this.#maxBatched = bounds === undefined ? this.#limits.BATCHED_MESSAGE : 0;
  }

  /**
   * @param {number} id the name that the core has for the channel from now on
   * @param {number} maxMessageSize what the peer takes
   */
  opened(id, maxMessageSize) {
    this.#id = id;
    const { BATCHED_MESSAGE } = this.#limits;
    this.#maxBatched = Math.min(BATCHED_MESSAGE, Math.floor(maxMessageSize / BYTES_PER_UNIT) - 1);
  }

  /**
   * Sends a message, with others of this turn where that is done.
   *
   * @param {any} message
   * @param {SendOptions} options
   * @param {SendCallback | undefined} callback
   * @param {string | Buffer} [frame] the message, if it is serialized already
   * @returns {boolean} what `send` answers
   */
  send(message, options, callback, frame = undefined) {
    // Where there are bounds it is serialized already.
    if (frame === undefined && this.#mayTakeApart()) {
      const apart = this.#serialization.takeApart(message);
      if (apart !== undefined && apart.pieces.length > 0) return this.#sendApart(apart, options, callback);
      frame = apart?.frame;
    } else if (frame === undefined) {
      const parts = this.#serialization.writeInParts?.(message);
      if (parts !== undefined && parts.length > 1) return this.#sendParts(parts, options, callback);
      frame = /** @type {Buffer | undefined} */ (parts?.[0]);
    }
    frame ??= this.#serialization.write(message);
    if (frame.length > this.#maxBatched || this.#sends.isDirect) {
      this.flush();
      return this.write(message, undefined, options, callback, frame);
    }
    // The first goes at once: as a rule there is no second.
    if (this.#beginTurn()) return this.write(message, undefined, options, callback, frame);
    if (this.#bounds === undefined) return this.#corked(this.#sends.cork(this.#id, frame), options, callback);
    this.#batch.push({
      message: undefined,
      handle: null,
      options,
      callback,
      frame,
      order: this.#nextOrder++,
    });
    this.#batchUnits += frame.length;
    return this.#batchUnits < this.#limits.BATCH ? this.isBelow(this.#queuedBytes) : this.flush();
  }

  /** Whether the peer is a corral too, with which large pieces of a message travel beside it. */
  #mayTakeApart() {
    this.#takesPieces ||= this.#sends.takesPieces(this.#id);
    return this.#takesPieces;
  }

  /**
   * @param {import('../serialization').Apart} apart
   * @param {SendOptions} options
   * @param {SendCallback | undefined} callback
   * @returns {boolean} what `send` answers
   */
  #sendApart({ frame, pieces }, options, callback) {
    let units = this.#apartUnits;
    for (const { length } of pieces) units += length;
    const isLast = !this.#isTurn || units >= APART_BATCH;
    const corked = this.#sends.isDirect ? null : this.#sends.corkApart(this.#id, frame, pieces, isLast);
    if (corked !== null) {
      this.#beginTurn();
      this.#apartUnits = units;
      const answer = this.#corked(corked, options, callback);
      return isLast ? this.flush() : answer;
    }
    this.flush();
    const status = this.#sends.writeApart(this.#id, frame, pieces, this.#nextCompletion);
    return this.#account(status, [{ message: undefined, handle: null, options, callback }]);
  }

  /**
   * @param {Uint8Array[]} parts of the frame
   * @param {SendOptions} options
   * @param {SendCallback | undefined} callback
   * @returns {boolean} what `send` answers
   */
  #sendParts(parts, options, callback) {
    this.flush();
    const status = this.#sends.writeParts(this.#id, parts, this.#nextCompletion);
    return this.#account(status, [{ message: undefined, handle: null, options, callback }]);
  }

  /** @returns {boolean} whether nothing has been sent in this turn before */
  #beginTurn() {
    if (this.#isTurn) return false;
    this.#isTurn = true;
    process.nextTick(endTurn, this);
    return true;
  }

  /**
   * The core has been given a message, which it sends when the turn ends, or when that takes long.
   *
   * @param {number} status of the core
   * @param {SendOptions} options
   * @param {SendCallback | undefined} callback
   * @returns {boolean} what `send` answers
   */
  #corked(status, options, callback) {
    this.#batch.push({ message: undefined, handle: null, options, callback });
    // Of what goes wrong the end of the turn tells.
    return !this.#isFarBehind && this.isBelow(status);
  }

  /** The turn in which something was sent is over. */
  endTurn() {
    this.#isTurn = false;
    this.flush();
  }

  /**
   * @param {string | Buffer} frame
   * @returns {number} what the core would say to it: 0 if it may be sent, a negative errno if not
   */
  refusalOf(frame) {
    return this.#sends.takes(this.#id, sizeOf(frame));
  }

  /**
   * Sends what the peer has asked for, however much waits: the core sees to it that it is read. Where there are no bounds.
   *
   * @param {any} message
   * @returns {true} what `send` answers
   */
  answer(message) {
    this.flush();
    this.#sends.answer(this.#id, this.#serialization.write(message));
    return true;
  }

  /** How many bytes wait to be written. */
  get queued() {
    return this.#sends.queued(this.#id);
  }

  /** Sends the batch. @returns {boolean} what `send` answers */
  flush() {
    const batch = this.#takeBatch();
    if (batch.length === 0) return true;
    if (this.#bounds === undefined)
      return this.#account(this.#sends.uncork(this.#id, this.#nextCompletion), batch);
    const frames = batch.map(({ frame }) => /** @type {string | Buffer} */ (frame));
    const together = this.#serialization.join(frames);
    const status = this.#sends.writeMany(this.#id, together, batch.length, this.#nextCompletion);
    return this.#account(status, batch);
  }

  #takeBatch() {
    const batch = this.#batch;
    if (batch.length > 0) this.#batch = [];
    this.#batchUnits = 0;
    this.#apartUnits = 0;
    return batch;
  }

  /**
   * Sends a message by itself, behind those of the batch.
   *
   * @param {any} message
   * @param {RawHandle | undefined} handle
   * @param {SendOptions} options
   * @param {SendCallback | undefined} callback
   * @param {string | Buffer} [frame] the message, if it is serialized already
   * @param {() => void} [onSent] told before anybody is called back
   * @returns {boolean} what `send` answers
   */
  write(message, handle, options, callback, frame = this.#serialization.write(message), onSent = undefined) {
    const fd = handle ? handle.fd : -1;
    const status = this.#sends.write(this.#id, frame, fd, this.#nextCompletion);
    if (status >= 0) onSent?.();
    const kept = this.#bounds?.keepsUnwritten && !handle ? frame : undefined;
    const order = this.#nextOrder++;
    return this.#account(status, [
      { message: undefined, handle: null, options, callback, frame: kept, order },
    ]);
  }

  /**
   * @param {number} status of the core
   * @param {Outgoing[]} messages
   * @returns {boolean} what `send` answers
   */
  #account(status, messages) {
    this.#isFarBehind = status === this.#limits.WRITTEN_AND_BEHIND;
    if (this.#isFarBehind) {
      this.#account(0, messages);
      this.#isFarBehind = true;
      return false;
    }
    this.#queuedBytes = Math.max(status, 0);
    if (status < 0) {
      for (const outgoing of messages) this.#unsent(status, outgoing);
      return status !== QUEUE_FULL;
    }
    if (status === 0 && this.#unwritten.size > 0) {
      // The core has written what waited, and is about to tell so: these are called back behind it.
      this.#newest.push(...messages);
      return true;
    }
    if (status === 0) {
      for (const { callback } of messages) {
        if (typeof callback === 'function') process.nextTick(callback, null);
      }
      return true;
    }
    this.#unwritten.set(this.#nextCompletion, messages);
    if (messages.some(({ callback }) => typeof callback === 'function')) {
      this.#origins.set(this.#nextCompletion, new Origin('CORRALWRITE'));
    }
    this.#newest = messages;
    this.#nextCompletion = (this.#nextCompletion + 1) >>> 0;
    this.#control.refCounted();
    return this.isBelow(status);
  }

  /**
   * @param {number} errno
   * @param {Outgoing} outgoing
   */
  #unsent(errno, outgoing) {
    if (errno === PEER_GONE && this.#isKept(outgoing)) this.#left.push(outgoing);
    else this.refuse(errno, outgoing.options, outgoing.callback);
  }

  /**
   * @param {Outgoing} outgoing
   * @returns {boolean} whether it waits for the next connection if it cannot be written to this one
   */
  #isKept({ frame }) {
    return this.#bounds?.keepsUnwritten === true && frame !== undefined;
  }

  /**
   * @param {number} bytes that wait
   * @returns {boolean} what `send` answers
   */
  isBelow(bytes) {
    const isBelow = bytes < this.#limits.HIGH_WATER;
    if (!isBelow) this.#needsDrain = true;
    return isBelow;
  }

  /**
   * @param {number} errno
   * @param {SendOptions} options
   * @param {SendCallback | undefined} callback
   * @returns {boolean} what `send` answers
   */
  refuse(errno, options, callback) {
    const isNoError = options.isForAll || (this.#owner.isToPrimary && typeof callback !== 'function');
    const isTold = !options.swallowErrors && !(isNoError && errno === PEER_GONE);
    if (isTold) this.fail(this.#writeError(errno), callback);
    if (errno !== QUEUE_FULL) return true;
    this.#needsDrain = true;
    return false;
  }

  /**
   * Sends what had to wait. One that finds nobody there is told what it would have been told had the end come first.
   *
   * @param {() => void} send
   */
  catchUp(send) {
    this.#isCatchingUp = true;
    try {
      send();
    } finally {
      this.#isCatchingUp = false;
    }
  }

  /** @param {number} errno */
  #writeError(errno) {
    if (errno === TOO_LARGE) return errors.messageTooLarge();
    if (errno === QUEUE_FULL) return errors.queueFull();
    return errno === PEER_GONE && this.#isCatchingUp
      ? errors.channelClosed()
      : errors.errnoException(errno, 'write');
  }

  /**
   * @param {Error} error
   * @param {SendCallback | undefined} callback
   */
  fail(error, callback) {
    if (typeof callback === 'function') process.nextTick(callback, error);
    else if (this.#bounds) process.nextTick(() => this.#owner.report(this.#child, error));
    else process.nextTick(() => this.#child.emit('error', error));
  }

  /**
   * The core has written what had to wait, or never will.
   *
   * @param {number} completion
   * @param {Error | null} error
   * @param {number} written with an error: how many bytes have been written all the same
   */
  onWritten(completion, error, written = 0) {
    const messages = this.#unwritten.get(completion);
    if (messages === undefined) return;
    this.#unwritten.delete(completion);
    if (this.#unwritten.size === 0) this.#queuedBytes = 0;
    this.#control.unrefCounted();
    const origin = this.#origins.get(completion);
    this.#origins.delete(completion);
    try {
      if (origin) origin.runInAsyncScope(this.#settle, this, messages, error, written);
      else this.#settle(messages, error, written);
    } finally {
      // A callback that throws must not cost others the event.
      this.drained();
    }
  }

  /**
   * @param {Outgoing[]} messages
   * @param {Error | null} error
   * @param {number} written
   */
  #settle(messages, error, written) {
    if (error === null) this.#callBack(messages, null);
    else this.#giveUp(messages, error, written);
  }

  /**
   * @param {Outgoing[]} messages
   * @param {Error | null} error
   * @param {boolean} isAlone nobody else is called back in this turn
   */
  #callBack(messages, error, isAlone = messages.length === 1) {
    for (const { callback } of messages) {
      if (typeof callback !== 'function') continue;
      // One that throws must not cost the others theirs.
      if (isAlone) callback(error);
      else process.nextTick(callback, error);
    }
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
    this.#left.push(...unsent.filter((outgoing) => this.#isKept(outgoing)));
    this.#callBack(messages.slice(0, messages.length - unsent.length), null, isAlone);
    this.#callBack(
      unsent.filter((outgoing) => !this.#isKept(outgoing)),
      error,
      isAlone,
    );
  }

  /**
   * What is written from now on is called back behind others, which the core knows nothing of.
   *
   * @returns {() => void} to be called when they have been
   */
  holdCallbacks() {
    const completion = this.#nextCompletion;
    this.#account(QUEUED_ELSEWHERE, []);
    return () => this.onWritten(completion, null);
  }

  /** Whether the core has something that is still to be written. */
  get isWaiting() {
    return this.#unwritten.size > 0;
  }

  /** What has not gone to the core yet never will. */
  dropBatch() {
    for (const { callback } of this.#takeBatch()) {
      if (typeof callback === 'function') this.fail(errors.channelClosed(), callback);
    }
  }

  /** Tells a program that `send` has answered false when nothing waits any more. */
  drained() {
    if (!this.#needsDrain || !this.#bounds || this.#unwritten.size > 0 || this.#child._handleQueue) return;
    this.#needsDrain = false;
    // Behind the callbacks of what has been written.
    process.nextTick(() => this.#child.emit('drain'));
  }

  /** @returns {Outgoing[]} what the connection that has ended did not take, in its order */
  takeLeft() {
    const left = [...this.#left, ...this.#takeBatch()];
    this.#left = [];
    return left.sort((one, other) => Number(one.order) - Number(other.order));
  }
}

/** @param {Sending} sending */
function endTurn(sending) {
  sending.endTurn();
}

module.exports = { NO_DESCRIPTOR, QUEUE_FULL, Sending, sizeOf };
