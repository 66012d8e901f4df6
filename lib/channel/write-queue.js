'use strict';

// A channel's messages on their way to the core: one by one, or several of one turn together. `send`'s answers come from here.

const os = require('node:os');

const { Completions, inOrigin, originOf } = require('./completions');
const errors = require('../errors');
const { limits } = require('../limits');
const { sizeOf } = require('./native-writer');
const { isDescriptor } = require('../util/descriptor');

/** @typedef {import('./completions').Outgoing} Outgoing */
/** @typedef {import('./channel').Owner} Owner */
/** @typedef {import('./channel').Bounds} Bounds */
/** @typedef {import('./channel').SendOptions} SendOptions */
/** @typedef {import('./channel').SendCallback} SendCallback */
/** @typedef {import('./channel').Target} Target */
/** @typedef {import('../serialization').Serialization} Serialization */
/** @typedef {import('../node-internals').RawHandle} RawHandle */

/**
 * How much of the attachments is copied, in characters or bytes, before they go out, so that the peer can read while this side
 * copies the next. See docs/performance.md.
 */
const ATTACHED_BATCH = 256 * 1024;
/** How many bytes a character of a string becomes at most. */
const BYTES_PER_UNIT = 3;
/** How many bytes may wait for a peer that sends more requests, where the program's own messages have no bounds. */
const MAX_UNREAD_REPLIES = 64 * 1024 * 1024;
/** The error of a handle without a descriptor. */
const NO_DESCRIPTOR = -os.constants.errno.EBADF;
/** The core's answers to a message for which there is no room, to a message that is too large, and when the peer has gone. */
const QUEUE_FULL = -os.constants.errno.ENOBUFS;
const TOO_LARGE = -os.constants.errno.EMSGSIZE;
const PEER_GONE = -os.constants.errno.EPIPE;
/** As if the core had a byte that is still to be written. */
const QUEUED_ELSEWHERE = 1;

/** Why replies cannot be sent, by errno. @type {Map<number, Error>} */
const ofReplies = new Map();

class WriteQueue {
  #limits = limits();
  #owner;
  #writer;
  #child;
  #serialization;
  #bounds;
  #id;
  #completions;
  #nextOrder = 0;
  /** What goes out together. @type {Outgoing[]} */
  #batch = [];
  #batchUnits = 0;
  /** How much has been copied beside it. */
  #attachedUnits = 0;
  /** How many bytes the core had to queue when it was last given something. */
  #queuedBytes = 0;
  /** Something has been sent in this turn: what is sent now joins the batch. */
  #isTurn = false;
  /** The largest message that may join a batch. */
  #maxBatched;
  #isCatchingUp = false;
  #acceptsAttachments = false;
  /** Everything was written when something was sent last, and the peer had much of it unread. */
  #isFarBehind = false;
  /** `send` has answered false: a 'drain' event has to follow. */
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
    this.#writer = owner.writer;
    this.#id = id;
    this.#child = child;
    this.#serialization = serialization;
    this.#bounds = bounds;
    this.#completions = new Completions(control, bounds?.keepsUnwritten === true);
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
    if (frame === undefined && this.#mayAttach()) {
      const detached = this.#serialization.takeApart(message);
      if (detached !== undefined && detached.attachments.length > 0)
        return this.#sendAttached(detached, options, callback);
      frame = detached?.frame;
    } else if (frame === undefined) {
      const parts = this.#serialization.writeInParts?.(message);
      if (parts !== undefined && parts.length > 1) return this.#sendParts(parts, options, callback);
      frame = /** @type {Buffer | undefined} */ (parts?.[0]);
    }
    frame ??= this.#serialization.write(message);
    if (frame.length > this.#maxBatched || this.#writer.isDirect) {
      this.flush();
      return this.write(message, undefined, options, callback, frame);
    }
    // The first goes at once: as a rule there is no second.
    if (this.#beginTurn()) return this.write(message, undefined, options, callback, frame);
    if (this.#bounds === undefined)
      return this.#corked(this.#writer.cork(this.#id, frame), options, callback);
    const origin = originOf(options, callback);
    const order = this.#nextOrder++;
    this.#batch.push({ message: undefined, handle: null, options, callback, frame, order, origin });
    this.#batchUnits += frame.length;
    return this.#batchUnits < this.#limits.BATCH ? this.isBelow(this.#queuedBytes) : this.flush();
  }

  /** Whether the peer is a corral too, with which large attachments of a message travel beside it. */
  #mayAttach() {
    this.#acceptsAttachments ||= this.#writer.acceptsAttachments(this.#id);
    return this.#acceptsAttachments;
  }

  /**
   * @param {import('../serialization').Detached} detached
   * @param {SendOptions} options
   * @param {SendCallback | undefined} callback
   * @returns {boolean} what `send` answers
   */
  #sendAttached({ frame, attachments }, options, callback) {
    let units = this.#attachedUnits;
    for (const { length } of attachments) units += length;
    const isLast = !this.#isTurn || units >= ATTACHED_BATCH;
    const corked = this.#writer.isDirect
      ? null
      : this.#writer.corkAttached(this.#id, frame, attachments, isLast);
    if (corked !== null) {
      this.#beginTurn();
      this.#attachedUnits = units;
      const answer = this.#corked(corked, options, callback);
      return isLast ? this.flush() : answer;
    }
    this.flush();
    const status = this.#writer.writeAttached(this.#id, frame, attachments, this.#completions.next);
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
    const status = this.#writer.writeParts(this.#id, parts, this.#completions.next);
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
    const origin = originOf(options, callback);
    this.#batch.push({ message: undefined, handle: null, options, callback, origin });
    // Errors come when the turn ends.
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
    return this.#writer.takes(this.#id, sizeOf(frame));
  }

  /**
   * Sends an answer to the peer, however much waits: the core destroys the channel of a peer that does not read its answers. Where
   * there are no bounds.
   *
   * @param {any} message
   * @returns {true} what `send` answers
   */
  answer(message) {
    this.flush();
    this.#writer.answer(this.#id, this.#serialization.write(message));
    return true;
  }

  /** How many bytes wait to be written. */
  get queued() {
    return this.#writer.queued(this.#id);
  }

  /** Sends the batch. @returns {boolean} what `send` answers */
  flush() {
    const batch = this.#takeBatch();
    if (batch.length === 0) return true;
    if (this.#bounds === undefined)
      return this.#account(this.#writer.uncork(this.#id, this.#completions.next), batch);
    const frames = batch.map(({ frame }) => /** @type {string | Buffer} */ (frame));
    const together = this.#serialization.join(frames);
    const status = this.#writer.writeMany(this.#id, together, batch.length, this.#completions.next);
    return this.#account(status, batch);
  }

  #takeBatch() {
    const batch = this.#batch;
    if (batch.length > 0) this.#batch = [];
    this.#batchUnits = 0;
    this.#attachedUnits = 0;
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
   * @param {() => void} [onSent] is called before any callback
   * @returns {boolean} what `send` answers
   */
  write(message, handle, options, callback, frame = this.#serialization.write(message), onSent = undefined) {
    // What a runtime or a program calls a handle need not have one: no other number may go in its place.
    if (handle && !isDescriptor(handle.fd)) return this.refuse(NO_DESCRIPTOR, options, callback);
    const fd = handle ? handle.fd : -1;
    const status = this.#writer.write(this.#id, frame, fd, this.#completions.next);
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
    if (status === 0) {
      this.#completions.written(messages);
      return true;
    }
    this.#completions.add(messages);
    return this.isBelow(status);
  }

  /**
   * @param {number} errno
   * @param {Outgoing} outgoing
   */
  #unsent(errno, outgoing) {
    if (errno === PEER_GONE && this.#completions.keep(outgoing)) return;
    inOrigin(outgoing, () => this.refuse(errno, outgoing.options, outgoing.callback));
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
    if (isTold) this.fail(this.#errorOf(errno, options), callback);
    if (errno !== QUEUE_FULL) return true;
    this.#needsDrain = true;
    return false;
  }

  /**
   * Sends messages that had to wait. If the peer has gone, they get the error that they would have got had the end come first.
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

  /**
   * @param {number} errno
   * @param {SendOptions} options
   */
  #errorOf(errno, { isReply }) {
    if (!isReply) return this.#writeError(errno);
    // Nobody but corral sees it, and it may be asked for as often as a peer likes.
    const error = ofReplies.get(errno) ?? this.#writeError(errno);
    ofReplies.set(errno, error);
    return error;
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
   * The core has written messages that it had queued, or never will.
   *
   * @param {number} completion
   * @param {Error | null} error
   * @param {number} written with an error: how many bytes have been written all the same
   */
  onWritten(completion, error, written = 0) {
    const batch = this.#completions.take(completion);
    if (batch === undefined) return;
    if (!this.#completions.isWaiting) this.#queuedBytes = 0;
    try {
      this.#completions.settle(batch, error, written);
    } finally {
      // A callback that throws must not cost others the event.
      this.drained();
    }
  }

  /**
   * Holds callbacks back: others come first, of which the core knows nothing.
   *
   * @returns {() => void} to be called when they have been
   */
  holdCallbacks() {
    const completion = this.#completions.next;
    this.#account(QUEUED_ELSEWHERE, []);
    return () => this.onWritten(completion, null);
  }

  /** Whether the core has something that is still to be written. */
  get isWaiting() {
    return this.#completions.isWaiting;
  }

  /** Gives up the messages that have not gone to the core yet. */
  dropBatch() {
    for (const outgoing of this.#takeBatch()) {
      const { callback } = outgoing;
      if (typeof callback !== 'function') continue;
      inOrigin(outgoing, () => this.fail(errors.channelClosed(), callback));
    }
  }

  /** Emits 'drain' when nothing waits any more, if `send` has answered false. */
  drained() {
    if (!this.#needsDrain || !this.#bounds || this.isWaiting || this.#child._handleQueue) return;
    this.#needsDrain = false;
    // Behind the callbacks of what has been written.
    process.nextTick(() => this.#child.emit('drain'));
  }

  /** @returns {Outgoing[]} what the connection that has ended did not take, in its order */
  takeLeft() {
    const left = [...this.#completions.takeKept(), ...this.#takeBatch()];
    return left.sort((one, other) => Number(one.order) - Number(other.order));
  }
}

/** @param {WriteQueue} queue */
function endTurn(queue) {
  queue.endTurn();
}

module.exports = { MAX_UNREAD_REPLIES, NO_DESCRIPTOR, QUEUE_FULL, WriteQueue };
