'use strict';

// The channel to a worker as JavaScript sees it: what `child_process.fork` puts on a ChildProcess (`send`,
// `disconnect`, `connected`, `channel`, the 'message', 'internalMessage' and 'disconnect' events), on top of the
// core's channel. Semantics and order of events are Node's (internal/child_process, setupChannel).

const EventEmitter = require('node:events');
const os = require('node:os');
const util = require('node:util');

const errors = require('./errors');
const { putTogether, takeApart, typeOf } = require('./handles');
const internals = require('./node-internals');

/** @typedef {import('./node-internals').RawHandle} RawHandle */
/** @typedef {import('./serialization').Serialization} Serialization */
/** @typedef {{ swallowErrors?: boolean, keepOpen?: boolean }} SendOptions */
/** @typedef {(error: Error | null) => void} SendCallback */

/**
 * A ChildProcess with a channel of ours. Loosely typed where Node's own type cannot be extended.
 * @typedef {any} Target
 */

/** `send` answers false from here on: two reads of the peer (Node: 65536 * 2). */
const HIGH_WATER = 65536 * 2;
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

/** One worker's channel. */
class Channel {
  #primary;
  #id;
  #child;
  #serialization;
  #control;
  /** Messages for which there was no 'message' listener yet: [message, handle]. @type {[any, any][]} */
  #unheard = [];
  /** Callbacks of frames that could not be written at once. @type {Map<number, SendCallback | undefined>} */
  #unwritten = new Map();
  #nextCompletion = 1;
  #ipcClosed;
  #closed = false;
  /** What waited for the last handle is being sent. */
  #afterHandle = false;

  /**
   * @param {import('./core').Core} primary
   * @param {number} id
   * @param {Target} child
   * @param {Serialization} serialization
   */
  constructor(primary, id, child, serialization) {
    this.#primary = primary;
    this.#id = id;
    this.#child = child;
    this.#serialization = serialization;
    this.#control = new Control(primary.keepAlive, primary.channelFd(id));
    this.#ipcClosed = internals.expectClose(child);
    this.#install();
  }

  #install() {
    const child = this.#child;
    const channel = this;
    child.channel = this.#control;
    child.connected = true;
    child._handleQueue = null;
    child._pendingMessage = null;
    const deprecated = '_channel is deprecated. Use ChildProcess.channel instead.';
    Object.defineProperty(child, '_channel', {
      get: util.deprecate(() => child.channel, deprecated, 'DEP0129'),
      set: util.deprecate(
        (/** @type {any} */ value) => {
          child.channel = value;
        },
        deprecated,
        'DEP0129',
      ),
      configurable: true,
      enumerable: false,
    });
    child.on('newListener', (/** @type {string | symbol} */ name) => {
      if (name === 'internalMessage') this.#primary.wantInternalMessages();
      process.nextTick(() => this.#deliverUnheard());
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
      if (this.connected) return this._send(message, handle, { swallowErrors: false, ...options }, callback);
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
        this.emit('error', errors.disconnected());
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
    if (handle) {
      wrapped = { cmd: 'NODE_HANDLE', type: typeOf(handle), msg: message };
    }
    // One handle at a time, and everything behind it waits for its acknowledgement, so that messages keep their
    // order even when a handle has to be sent again.
    if (child._handleQueue) {
      child._handleQueue.push({ message, handle: handle ?? null, options, callback });
      return child._handleQueue.length === 1;
    }
    if (!handle) return this.#write(message, undefined, options, callback);
    const raw = takeApart(child, wrapped, handle, options);
    if (!raw) return this.#write(message, undefined, options, callback);
    const closeWhenArrived = wrapped.type === 'net.Socket' && !options.keepOpen;
    return this.#write(wrapped, { raw, closeWhenArrived }, options, callback);
  }

  /**
   * @param {any} message
   * @param {{ raw: RawHandle, closeWhenArrived: boolean } | undefined} handle
   * @param {SendOptions} options
   * @param {SendCallback | undefined} callback
   */
  #write(message, handle, options, callback) {
    const child = this.#child;
    const completion = this.#nextCompletion;
    const fd = handle ? handle.raw.fd : -1;
    const status = this.#primary.write(this.#id, this.#serialization.write(message), fd, completion);
    if (status < 0) {
      if (handle?.closeWhenArrived) handle.raw.close();
      if (!options.swallowErrors) this.#fail(this.#writeError(status), callback);
      return true;
    }
    if (handle) {
      child._handleQueue = [];
      if (handle.closeWhenArrived) child._pendingMessage = { callback, message, handle: handle.raw, options };
    }
    if (status === 0) {
      if (typeof callback === 'function') process.nextTick(callback, null);
    } else {
      this.#nextCompletion = (completion + 1) >>> 0;
      this.#unwritten.set(completion, callback);
      this.#control.refCounted();
    }
    return status < HIGH_WATER;
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
    if (!this.#unwritten.has(completion)) return;
    const callback = this.#unwritten.get(completion);
    this.#unwritten.delete(completion);
    this.#control.unrefCounted();
    if (typeof callback === 'function') callback(error);
  }

  /** The handle sent last has arrived, or was given up: the next one's turn. */
  onHandleArrived() {
    const child = this.#child;
    this.#closePendingHandle();
    const queue = child._handleQueue ?? [];
    child._handleQueue = null;
    for (const { message, handle, options, callback } of queue)
      child._send(message, handle, options, callback);
    if (!child.connected && child.channel && !child._handleQueue) child._disconnect();
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
   * Messages of the worker's as they came off the wire.
   *
   * @param {string | Buffer} frames
   */
  onMessages(frames) {
    for (const frame of this.#serialization.split(frames)) this.onMessage(frame);
  }

  /** @param {string | Buffer} frame a message of the worker's, serialized */
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
      this.#primary.closeHandle(fd);
      return;
    }
    let message;
    let handle;
    try {
      message = this.#serialization.read(frame);
      handle = putTogether(this.#child, message, fd);
    } catch (error) {
      // Closed once: by now its number could be another's.
      if (!(/** @type {any} */ (error).descriptorTaken)) this.#primary.closeHandle(fd);
      this.#condemn(error);
      return;
    }
    process.nextTick(emit, this, message.msg, handle);
  }

  /** @param {unknown} error a message that nobody can read is the end of its channel, and of nothing else */
  #condemn(error) {
    this.#primary.condemn(this.#id, /** @type {Error} */ (error).message);
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
    const child = this.#child;
    if (isInternal(message)) child.emit('internalMessage', message, handle);
    else if (child.listenerCount('message')) child.emit('message', message, handle);
    else this.#unheard.push([message, handle]);
  }

  #deliverUnheard() {
    const child = this.#child;
    if (this.#unheard.length === 0 || !child.channel || !child.listenerCount('message')) return;
    const unheard = this.#unheard;
    this.#unheard = [];
    for (const [message, handle] of unheard) child.emit('message', message, handle);
  }

  #disconnect() {
    const child = this.#child;
    child.channel = null;
    this.#closePendingHandle();
    this.#control.release();
    if (!this.#closed) this.#primary.closeChannel(this.#id);
    process.nextTick(() => child.emit('disconnect'));
  }

  /**
   * The worker's end is closed. The last that is heard of the channel.
   *
   * @param {Error | undefined} cause unless the worker closed it, or ended
   */
  onClosed(cause) {
    const child = this.#child;
    this.#closed = true;
    const queue = child._handleQueue ?? [];
    child._handleQueue = null;
    if (cause) process.nextTick(() => this.#primary.report(child, cause));
    if (child.channel) {
      child.connected = false;
      child._disconnect();
    }
    // Node leaves these callbacks uncalled.
    for (const { callback } of queue) {
      if (typeof callback === 'function') this.#fail(errors.channelClosed(), callback);
    }
    this.#ipcClosed();
  }
}

module.exports = { Channel };
