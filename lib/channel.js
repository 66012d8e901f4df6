'use strict';

// A channel as JavaScript sees it: what `child_process.fork` puts on a ChildProcess (`send`, `disconnect`, `connected`,
// `channel`, the 'message', 'internalMessage' and 'disconnect' events), on top of the core's channel. Semantics and order
// of events are Node's (internal/child_process, setupChannel). Channels over named sockets have it too, and in addition
// bounds, and a time before they are connected.

const EventEmitter = require('node:events');
const os = require('node:os');

const errors = require('./errors');
const { discard, putTogether, takeApart, typeOf } = require('./handles');

/** @typedef {import('./node-internals').RawHandle} RawHandle */
/** @typedef {import('./serialization').Serialization} Serialization */
/** @typedef {{ swallowErrors?: boolean, keepOpen?: boolean }} SendOptions */
/** @typedef {(error: Error | null) => void} SendCallback */

/**
 * A ChildProcess with a channel of ours, or a channel over a named socket. Loosely typed where Node's own type cannot be
 * extended.
 * @typedef {any} Target
 */

/**
 * Who has the other half of a channel, in the core.
 * @typedef {object} Owner
 * @property {import('./keep-alive').KeepAlive} keepAlive
 * @property {(id: number) => number} channelFd
 * @property {(id: number, frame: string | Buffer, fd: number, completion: number) => number} write
 *   0 when everything was written, the number of bytes that wait when not, a negative errno on failure
 * @property {(id: number, bytes: number) => number} takes whether a message may be sent: 0, or a negative errno
 * @property {(id: number) => void} closeChannel
 * @property {(id: number, reason: string) => void} condemn
 * @property {(fd: number) => void} closeHandle
 * @property {() => void} wantInternalMessages
 * @property {(target: Target, error: Error) => void} report tells of a fault of the peer's
 * @property {(target: Target) => void} closed the last that is heard of a channel
 * @property {(id: number, isWanted: boolean) => void} [wantMessages] whether to go on reading
 */

/**
 * What waits: for a handle to arrive, or for the channel to be connected.
 * @typedef {object} Waiting
 * @property {any} message
 * @property {any} handle
 * @property {SendOptions} options
 * @property {SendCallback | undefined} callback
 * @property {string | Buffer} [frame] the message as it was when it was sent, where there are bounds
 */

/**
 * @typedef {object} Bounds
 * @property {number} maxQueuedBytes how much may wait
 * @property {boolean} keepsUnwritten what could not be written before the end waits for the next connection
 */

/** `send` answers false from here on: two reads of the peer (Node: 65536 * 2). */
const HIGH_WATER = 65536 * 2;
/** So many messages may wait for a listener before the peer has to wait, where there are bounds. */
const MAX_UNHEARD = 1024;
/** What the core says to a message that is larger than the peer takes, and to one for which there is no room. */
const TOO_LARGE = -os.constants.errno.EMSGSIZE;
const QUEUE_FULL = -os.constants.errno.ENOBUFS;
const PREFIX = 'NODE_';

/** @param {any} message */
function isInternal(message) {
  const cmd = message !== null && typeof message === 'object' ? message.cmd : undefined;
  return typeof cmd === 'string' && cmd.length > PREFIX.length && cmd.startsWith(PREFIX);
}

/** `subprocess.channel`: whether the channel keeps the process alive. It does from the start. */
class Control extends EventEmitter {
  #keepAlive;
  #fd;
  #refs = 0;
  #explicit = false;
  #held = false;

  /**
   * @param {import('./keep-alive').KeepAlive} keepAlive
   * @param {number} fd
   */
  constructor(keepAlive, fd) {
    super();
    this.#keepAlive = keepAlive;
    this.#fd = fd;
    this.#hold(true);
  }

  /** @param {boolean} held */
  #hold(held) {
    if (held === this.#held) return;
    this.#held = held;
    if (held) this.#keepAlive.hold();
    else this.#keepAlive.release();
  }

  /** Counts something that needs the channel, unless the program has decided. */
  refCounted() {
    if (++this.#refs === 1 && !this.#explicit) this.#hold(true);
  }

  unrefCounted() {
    if (--this.#refs === 0 && !this.#explicit) {
      this.#hold(false);
      this.emit('unref');
    }
  }

  ref() {
    this.#explicit = true;
    this.#hold(true);
  }

  unref() {
    this.#explicit = true;
    this.#hold(false);
  }

  hasRef() {
    return this.#held;
  }

  get fd() {
    return this.#fd;
  }

  set fd(fd) {
    this.#fd = fd;
  }

  /** The channel is gone and can keep nothing alive any more. */
  release() {
    this.#explicit = true;
    this.#hold(false);
  }
}

/**
 * A tick of its own for each message, as Node has it: between two of them promises have their turn.
 *
 * @param {Channel} channel
 * @param {any} message
 * @param {any} handle
 */
function emit(channel, message, handle) {
  channel.emit(message, handle);
}

/** @param {string | Buffer} frame */
function sizeOf(frame) {
  return typeof frame === 'string' ? Buffer.byteLength(frame) : frame.length;
}

/** One channel. */
class Channel {
  #owner;
  #id;
  #child;
  #serialization;
  #control;
  /** Messages that wait for a 'message' listener, or for `release`: [message, handle]. @type {[any, any][]} */
  #unheard = [];
  /** Whether reading rests because of them. */
  #isPaused = false;
  /** Whether nothing is to be told for now. */
  #isHeld = false;
  /** Whether what waits was held back, at least in part. */
  #hasHeld = false;
  /** What could not be written at once. @type {Map<number, Waiting>} */
  #unwritten = new Map();
  /** What was not written before the end, where it is kept. @type {Waiting[]} */
  #left = [];
  #nextCompletion = 1;
  #closed = false;
  #bounds;
  /** Bytes of what waits in front of the core. */
  #waitingBytes = 0;
  /** It is connected, or not known to be otherwise. */
  #isOpen;
  /** `send` has answered false, and the program is to be told when it may go on. */
  #needsDrain = false;
  /** What waited for the last handle is being sent. */
  #afterHandle = false;

  /**
   * @param {Owner} owner
   * @param {number} id
   * @param {Target} child
   * @param {Serialization} serialization
   * @param {Bounds} [bounds] for a channel over a named socket, which `opened` tells of being connected
   */
  constructor(owner, id, child, serialization, bounds = undefined) {
    this.#owner = owner;
    this.#id = id;
    this.#child = child;
    this.#serialization = serialization;
    this.#bounds = bounds;
    this.#isOpen = bounds === undefined;
    this.#control = new Control(owner.keepAlive, owner.channelFd(id));
    this.#install(bounds === undefined);
  }

  /** @param {boolean} connected */
  #install(connected) {
    const child = this.#child;
    const channel = this;
    child.channel = this.#control;
    child.connected = connected;
    child._handleQueue = connected ? null : [];
    child._pendingMessage = null;
    child.on('newListener', (/** @type {string | symbol} */ name) => {
      if (name === 'internalMessage') this.#owner.wantInternalMessages();
      process.nextTick(() => this.deliverUnheard());
    });

    child.send = function send(
      /** @type {any} */ message,
      /** @type {any} */ handle,
      /** @type {any} */ options,
      /** @type {any} */ callback,
    ) {
      if (typeof handle === 'function') {
        callback = handle;
        handle = undefined;
        options = undefined;
      } else if (typeof options === 'function') {
        callback = options;
        options = undefined;
      } else if (
        options !== undefined &&
        (options === null || typeof options !== 'object' || Array.isArray(options))
      ) {
        throw errors.invalidArgType('options', 'of type object', options);
      }
      if (this.connected || this.connecting)
        return this._send(message, handle, { swallowErrors: false, ...options }, callback);
      channel.#fail(errors.channelClosed(), callback);
      return false;
    };

    child._send = (
      /** @type {any} */ message,
      /** @type {any} */ handle,
      /** @type {SendOptions | boolean | undefined} */ options,
      /** @type {SendCallback | undefined} */ callback,
    ) =>
      this.#send(
        message,
        handle,
        typeof options === 'boolean' ? { swallowErrors: options } : options,
        callback,
      );

    child.disconnect = /** @this {Target} */ function disconnect() {
      if (!this.connected) {
        if (this.connecting) this._disconnect();
        else this.emit('error', errors.disconnected());
        return;
      }
      // No new messages. What waits for a handle to be acknowledged is still sent.
      this.connected = false;
      if (!this._handleQueue) this._disconnect();
    };

    child._disconnect = () => this.#disconnect();
  }

  /**
   * @param {any} message
   * @param {any} handle
   * @param {SendOptions} [options]
   * @param {SendCallback} [callback]
   * @returns {boolean}
   */
  #send(message, handle, options = {}, callback = undefined) {
    const child = this.#child;
    if (message === undefined) throw errors.missingArgs('message');
    if (!['string', 'object', 'number', 'boolean'].includes(typeof message)) {
      throw errors.invalidArgType('message', 'one of type string, object, number, or boolean', message);
    }
    /** @type {any} */
    let wrapped;
    // A descriptor may be 0.
    if (this.#bounds && typeof handle === 'number') handle = { fd: handle };
    if (handle) {
      wrapped = { cmd: 'NODE_HANDLE', type: typeOf(handle, this.#bounds !== undefined), msg: message };
    }
    // One handle at a time, and everything behind it waits for its acknowledgement, so that messages keep their
    // order even when a handle has to be sent again.
    if (child._handleQueue) return this.#wait({ message, handle: handle ?? null, options, callback });
    if (!handle) return this.#write(message, undefined, options, callback);
    if (this.#bounds) {
      // Before the handle is taken from whoever has it.
      const refusal = this.#owner.takes(this.#id, sizeOf(this.#serialization.write(wrapped)));
      if (refusal < 0) return this.#refuse(refusal, options, callback);
    }
    const raw = takeApart(child, wrapped, handle, options);
    if (!raw) return this.#write(message, undefined, options, callback);
    const closeWhenArrived = wrapped.type === 'net.Socket' && !options.keepOpen;
    return this.#write(wrapped, { raw, closeWhenArrived }, options, callback);
  }

  /**
   * Sends a message that is serialized already, as one of several channels' messages.
   *
   * @param {any} message
   * @param {string | Buffer} frame
   * @param {SendCallback} callback
   * @returns {boolean}
   */
  sendFrame(message, frame, callback) {
    const waiting = { message, handle: null, options: {}, callback, frame };
    if (this.#child._handleQueue) return this.#wait(waiting);
    return this.#write(message, undefined, {}, callback, frame);
  }

  /**
   * Keeps what cannot be sent yet.
   *
   * @param {Waiting} waiting
   * @returns {boolean}
   */
  #wait(waiting) {
    const queue = this.#child._handleQueue;
    if (this.#bounds === undefined) {
      queue.push(waiting);
      return queue.length === 1;
    }
    waiting.frame ??= this.#serialization.write(waiting.message);
    const bytes = sizeOf(waiting.frame);
    if (this.#waitingBytes > 0 && this.#waitingBytes + bytes > this.#bounds.maxQueuedBytes) {
      return this.#refuse(QUEUE_FULL, waiting.options, waiting.callback);
    }
    this.#waitingBytes += bytes;
    queue.push(waiting);
    return this.#isBelow(this.#waitingBytes);
  }

  /**
   * @param {number} bytes that wait
   * @returns {boolean} what `send` answers
   */
  #isBelow(bytes) {
    const isBelow = bytes < HIGH_WATER;
    if (!isBelow) this.#needsDrain = true;
    return isBelow;
  }

  /**
   * @param {number} errno
   * @param {SendOptions} options
   * @param {SendCallback | undefined} callback
   * @returns {boolean} what `send` answers
   */
  #refuse(errno, options, callback) {
    if (!options.swallowErrors) this.#fail(this.#writeError(errno), callback);
    if (errno !== QUEUE_FULL) return true;
    this.#needsDrain = true;
    return false;
  }

  /**
   * @param {any} message
   * @param {{ raw: RawHandle, closeWhenArrived: boolean } | undefined} handle
   * @param {SendOptions} options
   * @param {SendCallback | undefined} callback
   * @param {string | Buffer} [frame] the message, if it is serialized already
   */
  #write(message, handle, options, callback, frame = this.#serialization.write(message)) {
    const child = this.#child;
    const completion = this.#nextCompletion;
    const fd = handle ? handle.raw.fd : -1;
    const status = this.#owner.write(this.#id, frame, fd, completion);
    if (status < 0) {
      if (handle?.closeWhenArrived) handle.raw.close();
      return this.#refuse(status, options, callback);
    }
    if (handle) {
      child._handleQueue = [];
      if (handle.closeWhenArrived) child._pendingMessage = { callback, message, handle: handle.raw, options };
    }
    if (status === 0) {
      if (typeof callback === 'function') process.nextTick(callback, null);
    } else {
      this.#nextCompletion = (completion + 1) >>> 0;
      const kept = this.#bounds?.keepsUnwritten && !handle ? frame : undefined;
      this.#unwritten.set(completion, { message: undefined, handle: null, options, callback, frame: kept });
      this.#control.refCounted();
    }
    return this.#isBelow(status);
  }

  /**
   * @param {Error} error
   * @param {SendCallback | undefined} callback
   */
  #fail(error, callback) {
    if (typeof callback === 'function') process.nextTick(callback, error);
    else process.nextTick(() => this.#child.emit('error', error));
  }

  /**
   * The core has written a frame that had to wait, or never will.
   *
   * @param {number} completion
   * @param {Error | null} error
   */
  onWritten(completion, error) {
    const waiting = this.#unwritten.get(completion);
    if (waiting === undefined) return;
    this.#unwritten.delete(completion);
    this.#control.unrefCounted();
    if (error !== null && waiting.frame !== undefined) {
      this.#left.push(waiting);
      return;
    }
    if (typeof waiting.callback === 'function') waiting.callback(error);
    this.#drained();
  }

  /** Tells a program that `send` has answered false when nothing waits any more. */
  #drained() {
    if (!this.#needsDrain || !this.#bounds || this.#unwritten.size > 0 || this.#child._handleQueue) return;
    this.#needsDrain = false;
    this.#child.emit('drain');
  }

  /** The handle sent last has arrived, or was given up: the next one's turn. */
  onHandleArrived() {
    const child = this.#child;
    this.#closePendingHandle();
    this.#sendWaiting();
    if (!child.connected && child.channel && !child._handleQueue) child._disconnect();
  }

  #sendWaiting() {
    const child = this.#child;
    const queue = child._handleQueue ?? [];
    child._handleQueue = null;
    this.#waitingBytes = 0;
    for (const waiting of queue) {
      const { message, handle, options, callback, frame } = waiting;
      if (frame === undefined || handle) child._send(message, handle, options, callback);
      else if (child._handleQueue) this.#wait(waiting);
      else this.#write(message, undefined, options, callback, frame);
    }
    this.#drained();
  }

  /**
   * The channel is connected: what was sent meanwhile goes out.
   *
   * @param {number} id the name that the core has for it by now
   */
  opened(id) {
    this.#id = id;
    this.#control.fd = this.#owner.channelFd(id);
    this.#isOpen = true;
    this.#child.connected = true;
    this.#sendWaiting();
  }

  onHandleLost() {
    process.emitWarning(
      'Handle did not reach the receiving process correctly',
      'SentHandleNotReceivedWarning',
    );
    this.onHandleArrived();
  }

  /**
   * What waited for a handle to arrive, and then found nobody there, is told what it would have been told had the end
   * of the channel come first.
   *
   * @param {number} errno
   */
  #writeError(errno) {
    if (errno === TOO_LARGE) return errors.messageTooLarge();
    if (errno === QUEUE_FULL) return errors.queueFull();
    const isGone = errno === -os.constants.errno.EPIPE;
    return isGone && this.#afterHandle ? errors.channelClosed() : errors.errnoException(errno, 'write');
  }

  #closePendingHandle() {
    const child = this.#child;
    if (!child._pendingMessage) return;
    child._pendingMessage.handle.close();
    child._pendingMessage = null;
  }

  /**
   * Messages of the peer's as they came off the wire.
   *
   * @param {string | Buffer} frames
   */
  onMessages(frames) {
    for (const frame of this.#serialization.split(frames)) this.onMessage(frame);
  }

  /** @param {string | Buffer} frame a message of the peer's, serialized */
  onMessage(frame) {
    if (!this.#child.channel) return;
    let message;
    try {
      message = this.#serialization.read(frame);
    } catch (error) {
      this.#condemn(error);
      return;
    }
    process.nextTick(emit, this, message, undefined);
  }

  /**
   * @param {string | Buffer} frame a NODE_HANDLE message, serialized
   * @param {number} fd
   */
  onHandleMessage(frame, fd) {
    if (!this.#child.channel) {
      this.#owner.closeHandle(fd);
      return;
    }
    let message;
    let handle;
    try {
      message = this.#serialization.read(frame);
      handle = putTogether(this.#child, message, fd);
    } catch (error) {
      // Closed once: by now its number could be another's.
      if (!(/** @type {any} */ (error).descriptorTaken)) this.#owner.closeHandle(fd);
      this.#condemn(error);
      return;
    }
    process.nextTick(emit, this, message.msg, handle);
  }

  /** @param {unknown} error a message that nobody can read is the end of its channel, and of nothing else */
  #condemn(error) {
    this.#owner.condemn(this.#id, /** @type {Error} */ (error).message);
  }

  /** @param {string | Buffer} frame an internal message that the core has dealt with */
  onInternal(frame) {
    if (this.#child.channel) this.emit(this.#serialization.read(frame), undefined);
  }

  /**
   * @param {any} message
   * @param {any} handle
   */
  emit(message, handle) {
    if (this.#isHeld) this.#unheard.push([message, handle]);
    else if (isInternal(message)) this.#child.emit('internalMessage', message, handle);
    else if (this.#unheard.length === 0 && this.#child.listenerCount('message') > 0) {
      this.#child.emit('message', message, handle);
    } else {
      this.#keepUnheard(message, handle);
      // The listener may have come just now: nothing overtakes what waited for it.
      this.deliverUnheard();
    }
  }

  /**
   * @param {any} message
   * @param {any} handle
   */
  #keepUnheard(message, handle) {
    this.#unheard.push([message, handle]);
    if (this.#bounds && !this.#isPaused && this.#unheard.length >= MAX_UNHEARD) {
      this.#isPaused = true;
      this.#owner.wantMessages?.(this.#id, false);
    }
  }

  /** Tells what waits, as long as somebody listens: a listener may be there for one message only. */
  deliverUnheard() {
    const child = this.#child;
    const unheard = this.#unheard;
    if (this.#isHeld || unheard.length === 0 || !(child.channel || this.#bounds)) return;
    let told = 0;
    /** @type {[any, any][]} */
    const kept = [];
    try {
      while (told < unheard.length && !this.#isHeld) {
        const [message, handle] = unheard[told++];
        if (isInternal(message)) child.emit('internalMessage', message, handle);
        else if (child.listenerCount('message') > 0) child.emit('message', message, handle);
        else {
          kept.push([message, handle]);
          // What is held back may have requests in it, which wait for no listener.
          if (!this.#hasHeld) break;
        }
      }
    } finally {
      unheard.splice(0, told, ...kept);
    }
    if (!this.#isHeld) this.#hasHeld = false;
    if (this.#isPaused && child.channel && unheard.length < MAX_UNHEARD) {
      this.#isPaused = false;
      this.#owner.wantMessages?.(this.#id, true);
    }
  }

  /**
   * Takes back messages that a listener has got and not used: they are the first to be told again.
   *
   * @param {any[]} messages
   */
  putBack(messages) {
    if (this.#child.listenerCount('message') > 0) return;
    this.#unheard.unshift(...messages.map((message) => /** @type {[any, any]} */ ([message, undefined])));
  }

  /** Tells nothing until `release`, also of what has been read already. */
  hold() {
    this.#isHeld = true;
    this.#hasHeld = true;
  }

  release() {
    this.#isHeld = false;
    process.nextTick(() => this.deliverUnheard());
  }

  /** Whether messages wait for `release`. */
  get isHolding() {
    return this.#isHeld && this.#unheard.length > 0;
  }

  #disconnect() {
    const child = this.#child;
    child.channel = null;
    this.#closePendingHandle();
    this.#control.release();
    if (!this.#closed) this.#owner.closeChannel(this.#id);
    this.#tellDisconnected();
  }

  /** The connection is lost, and another one will be made: what has not been written waits for it. */
  lost() {
    const child = this.#child;
    const waiting = [...this.#left, ...(child._handleQueue ?? [])];
    this.#left = [];
    this.#waitingBytes = waiting.reduce((bytes, { frame }) => bytes + (frame ? sizeOf(frame) : 0), 0);
    child._handleQueue = waiting;
    this.#closePendingHandle();
    child.connected = false;
    this.#tellDisconnected();
  }

  #tellDisconnected() {
    const child = this.#child;
    if (this.#isOpen) process.nextTick(() => child.emit('disconnect'));
    this.#isOpen = false;
  }

  /**
   * The peer's end is closed. The last that is heard of the channel.
   *
   * @param {Error | undefined} cause unless the peer closed it, or ended
   */
  onClosed(cause) {
    const child = this.#child;
    this.#closed = true;
    const queue = [...this.#left, ...(child._handleQueue ?? [])];
    this.#left = [];
    child._handleQueue = null;
    if (cause) process.nextTick(() => this.#owner.report(child, cause));
    if (child.channel) {
      child.connected = false;
      child._disconnect();
    }
    // Node leaves these callbacks uncalled.
    for (const { callback } of queue) {
      if (typeof callback === 'function') this.#fail(errors.channelClosed(), callback);
    }
    // Messages may still find a listener; handles would stay open until then.
    for (const [, handle] of this.#unheard) if (handle !== undefined && this.#bounds) discard(handle);
    this.#unheard = this.#unheard.filter(([, handle]) => handle === undefined);
    this.#owner.closed(child);
  }
}

module.exports = { Channel };
