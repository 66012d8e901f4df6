'use strict';

// The peer's messages on their way to the program. Frames are read here, and messages wait for a listener, or for `release`.

const { discard } = require('./discard');
const { inOwnTick, tellMessage } = require('./order');
const { INTERNAL } = require('../protocol');

/** @typedef {import('./channel').Bounds} Bounds */
/** @typedef {import('./channel').Target} Target */
/** @typedef {import('../serialization').Serialization} Serialization */
/** @typedef {[message: any, handle: any, bytes: number]} Undelivered */

/** How many messages may wait for a listener before the peer has to wait, where there are bounds. */
const MAX_UNDELIVERED = 1024;
/** How many bytes of them. */
const MAX_UNDELIVERED_BYTES = 32 * 1024 * 1024;
/** The longest text about an unreadable message of the peer's, in characters. */
const MAX_REASON = 200;

/** @param {any} message */
function isInternal(message) {
  const cmd = message !== null && typeof message === 'object' ? message.cmd : undefined;
  return typeof cmd === 'string' && cmd.length > INTERNAL.length && cmd.startsWith(INTERNAL);
}

class Incoming {
  #target;
  #serialization;
  #bounds;
  #onUnreadable;
  /** A message could not be read: nothing behind it is believed, and the channel is about to end. */
  #isUnreadable = false;
  /** @type {Undelivered[]} */
  #undelivered = [];
  #undeliveredBytes = 0;
  /** Too many messages wait: the channel is not read. */
  #isFull = false;
  /** `hold` was called, and `release` not yet. */
  #isHeld = false;
  /** Some of the messages that wait came while they were held back. */
  #hasHeld = false;
  /** Takes requests and replies, for a channel without bounds. @type {((message: any, handle: any) => void) | undefined} */
  onRequest = undefined;

  /**
   * @param {Target} target whose 'message' and 'internalMessage' these are
   * @param {Serialization} serialization
   * @param {Bounds | undefined} bounds
   * @param {(reason: string) => void} onUnreadable is called when a message cannot be read: that is the end of its channel, and of
   *   nothing else
   */
  constructor(target, serialization, bounds, onUnreadable) {
    this.#target = target;
    this.#serialization = serialization;
    this.#bounds = bounds;
    this.#onUnreadable = onUnreadable;
  }

  /** The target has another connection, of which nothing bad is known. */
  opened() {
    this.#isUnreadable = false;
  }

  /** Whether messages are still delivered. */
  get isOpen() {
    return this.#target.channel && !this.#isUnreadable;
  }

  /** @param {unknown} error why a message cannot be read */
  fail(error) {
    this.#isUnreadable = true;
    // The text may quote the message.
    this.#onUnreadable(/** @type {Error} */ (error).message.slice(0, MAX_REASON));
  }

  /** @param {string | Buffer} frames as they came off the wire */
  onMessages(frames) {
    for (const frame of this.#serialization.split(frames)) {
      if (this.#isUnreadable) return;
      this.onMessage(frame);
    }
  }

  /** @param {string | Buffer} frame */
  onMessage(frame) {
    if (!this.isOpen) return;
    let message;
    try {
      message = this.#serialization.read(frame);
    } catch (error) {
      this.fail(error);
      return;
    }
    tellMessage(this, message, undefined, frame.length);
  }

  /**
   * @param {string | Buffer} frame of a message without its attachments
   * @param {any} attachments
   */
  onAttached(frame, attachments) {
    if (!this.isOpen) return;
    let message;
    try {
      message = this.#serialization.putTogether(frame, attachments);
    } catch (error) {
      this.fail(error);
      return;
    }
    tellMessage(this, message, undefined, frame.length);
  }

  /** @param {string | Buffer} frame of an internal message, with which the core has done its part */
  onInternal(frame) {
    if (!this.isOpen) return;
    let message;
    try {
      message = this.#serialization.read(frame);
    } catch (error) {
      // The core and V8 need not agree on what can be read.
      this.fail(error);
      return;
    }
    this.emit(message, undefined, frame.length);
  }

  /**
   * @param {any} message
   * @param {any} handle
   * @param {number} bytes that it came with
   */
  emit(message, handle, bytes) {
    if (this.#isHeld) this.#keep(message, handle, bytes);
    else if (isInternal(message)) this.#emitInternal(message, handle);
    else if (this.#undelivered.length === 0 && this.#target.listenerCount('message') > 0) {
      this.#target.emit('message', message, handle);
    } else {
      this.#keep(message, handle, bytes);
      // The listener may have come just now: nothing overtakes the messages that waited for it.
      this.deliver();
    }
  }

  /**
   * @param {any} message
   * @param {any} handle
   */
  #emitInternal(message, handle) {
    this.#bounds?.onInternal(message, handle);
    this.onRequest?.(message, handle);
    this.#target.emit('internalMessage', message, handle);
  }

  /** Whether as many messages wait for a listener as may. */
  get #hasReachedBound() {
    return this.#undelivered.length >= MAX_UNDELIVERED || this.#undeliveredBytes >= MAX_UNDELIVERED_BYTES;
  }

  /**
   * @param {any} message
   * @param {any} handle
   * @param {number} bytes
   */
  #keep(message, handle, bytes) {
    this.#undelivered.push([message, handle, bytes]);
    this.#undeliveredBytes += bytes;
    if (this.#bounds && !this.#isFull && this.#hasReachedBound) {
      this.#isFull = true;
      this.#bounds.wantMessages(false);
    }
  }

  /** Delivers the messages that wait, as long as somebody listens: a listener may be there for one message only. */
  deliver() {
    const target = this.#target;
    const undelivered = this.#undelivered;
    if (this.#isHeld || undelivered.length === 0 || !(target.channel || this.#bounds)) return;
    let seen = 0;
    /** @type {Undelivered[]} */
    const kept = [];
    try {
      while (seen < undelivered.length && !this.#isHeld) {
        const [message, handle, bytes] = undelivered[seen++];
        this.#undeliveredBytes -= bytes;
        if (isInternal(message)) this.#emitInternal(message, handle);
        else if (target.listenerCount('message') > 0) target.emit('message', message, handle);
        else {
          kept.push([message, handle, bytes]);
          this.#undeliveredBytes += bytes;
          // Among held messages there may be requests, which wait for no listener.
          if (!this.#hasHeld) break;
        }
      }
    } finally {
      undelivered.splice(0, seen, ...kept);
    }
    if (!this.#isHeld) this.#hasHeld = false;
    if (this.#bounds && this.#isFull && target.channel && !this.#hasReachedBound) {
      this.#isFull = false;
      this.#bounds.wantMessages(true);
    }
  }

  /**
   * Takes back messages that a listener has got and not used: they are the first to be delivered again.
   *
   * @param {any[]} messages
   */
  putBack(messages) {
    if (this.#target.listenerCount('message') > 0) return;
    this.#undelivered.unshift(
      ...messages.map((message) => /** @type {Undelivered} */ ([message, undefined, 0])),
    );
  }

  /** Delivers nothing until `release`, also of what has been read already. */
  hold() {
    this.#isHeld = true;
    this.#hasHeld = true;
  }

  release() {
    this.#isHeld = false;
    inOwnTick(() => this.deliver());
  }

  /** Whether messages wait for `release`. */
  get isHolding() {
    return this.#isHeld && this.#undelivered.length > 0;
  }

  /** The channel has ended. Its messages may still find a listener; handles would stay open until then. */
  onClosed() {
    for (const [, handle] of this.#undelivered) if (handle !== undefined && this.#bounds) discard(handle);
    this.#undelivered = this.#undelivered.filter(([, handle]) => handle === undefined);
  }
}

module.exports = { Incoming };
