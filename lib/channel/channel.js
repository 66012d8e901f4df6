'use strict';

// A channel as JavaScript sees it: what `child_process.fork` puts on a ChildProcess (`send`, `disconnect`, `connected`,
// `channel`, the 'message', 'internalMessage' and 'disconnect' events), on top of the core's channel. Semantics and order
// of events are Node's (internal/child_process, setupChannel). Channels over named sockets have it too, and in addition
// bounds, and a time before they are connected.

const EventEmitter = require('node:events');

const { discard } = require('./discard');
const errors = require('../errors');
const { describe, guard, isGivenAway, lacksDescriptor, putTogether, takeApart } = require('./handles');
const { limits } = require('../limits');
const { INTERNAL } = require('../protocol');
const { inOwnTick, tellMessage } = require('./order');
const { Origin } = require('../util/origin');
const { NO_DESCRIPTOR, QUEUE_FULL, Sending, sizeOf } = require('./write-queue');

/** @typedef {import('../node-internals').RawHandle} RawHandle */
/** @typedef {import('../serialization').Serialization} Serialization */
/**
 * @typedef {object} SendOptions
 * @property {boolean} [swallowErrors]
 * @property {boolean} [keepOpen]
 * @property {boolean} [isForAll] it goes to several peers, of which some may have gone
 * @property {boolean} [isForThisPeer] it is of no use to the peer of a later connection
 * @property {boolean} [isReply] the program's, to a request of the peer's: there is a bound also where there are none
 * @property {boolean} [isAnswer] the peer's own doing has brought it about, and not the program
 */
/** @typedef {(error: Error | null) => void} SendCallback */

/**
 * A ChildProcess with a channel of ours, or a channel over a named socket. Loosely typed where Node's own type cannot be
 * extended.
 * @typedef {any} Target
 */

/**
 * Who has the other half of a channel, in the core.
 * @typedef {object} Owner
 * @property {import('../util/keep-alive').KeepAlive} keepAlive
 * @property {(id: number) => number} channelFd
 * @property {import('./native-writer').Sends} sends
 * @property {(id: number) => void} closeChannel
 * @property {(id: number, reason: string) => void} condemn
 * @property {(fd: number) => void} closeHandle
 * @property {() => void} wantInternalMessages
 * @property {(target: Target, error: Error) => void} report tells of a fault of the peer's
 * @property {(target: Target) => void} closed the last that is heard of a channel
 * @property {boolean} [isToPrimary] the peer is this process's primary, which is trusted: there are no bounds to what it may ask. This
 *   process ends when that has: that a message finds nobody there is no error
 */

/**
 * What keeps the process alive.
 * @typedef {object} Holding
 * @property {() => void} refCounted something needs the channel
 * @property {() => void} unrefCounted
 * @property {() => void} release the channel is gone, and nothing needs it any more
 */

/** What waits: for a handle to arrive, or for the channel to be connected. @typedef {import('./write-queue').Outgoing} Waiting */

/**
 * What a channel over a named socket has in addition, by which nothing grows without end.
 * @typedef {object} Bounds
 * @property {number} maxQueuedBytes how much may wait
 * @property {boolean} keepsUnwritten what could not be written before the end waits for the next connection
 * @property {(isWanted: boolean) => void} wantMessages whether to go on reading
 * @property {(message: any, handle: any) => void} onInternal takes an internal message
 * @property {() => boolean} endsWithThisAttempt there is no other attempt to connect after the one under way, if there is one
 */

/** How many bytes of messages may wait for a listener before the peer has to wait, where there are bounds. */
const MAX_UNHEARD_BYTES = 32 * 1024 * 1024;
/** What a handle that waits counts for, so that a peer cannot use up the descriptors of this process. */
const HANDLE_WEIGHT = 512 * 1024;
/** How many bytes may wait for a peer that asks more, where there are no bounds for what the program sends by itself. */
const MAX_UNREAD_REPLIES = 64 * 1024 * 1024;
/** So many messages may wait for a listener before the peer has to wait, where there are bounds. */
const MAX_UNHEARD = 1024;
/** So much is said of what is wrong with a frame, in characters. */
const MAX_REASON = 200;

/** @param {any} message */
function isInternal(message) {
  const cmd = message !== null && typeof message === 'object' ? message.cmd : undefined;
  return typeof cmd === 'string' && cmd.length > INTERNAL.length && cmd.startsWith(INTERNAL);
}

/** `subprocess.channel`: whether the channel keeps the process alive. It does from the start. */
class Control extends EventEmitter {
  #keepAlive;
  #fd;
  #refs;
  #explicit = false;
  #held = false;

  /**
   * @param {import('../util/keep-alive').KeepAlive} keepAlive
   * @param {() => number} fd the descriptor that is read: a channel may change it once
   * @param {number} refs how many things need it from the start, and are not counted off
   */
  constructor(keepAlive, fd, refs) {
    super();
    this.#refs = refs;
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
    return this.#fd();
  }

  /** The channel is gone and can keep nothing alive any more. */
  release() {
    this.#explicit = true;
    this.#hold(false);
  }
}

/** One channel. */
class Channel {
  #owner;
  #id;
  /** The peer has sent what nobody can read: what is behind that is not believed, and the channel about to end. */
  #isCondemned = false;
  #child;
  #serialization;
  #control;
  /** Messages that wait for a 'message' listener, or for `release`: message, handle, bytes. @type {[any, any, number][]} */
  #unheard = [];
  #unheardBytes = 0;
  /** Whether reading rests because of them. */
  #isPaused = false;
  /** Whether nothing is to be told for now. */
  #isHeld = false;
  /** Whether what waits was held back, at least in part. */
  #hasHeld = false;
  #closed = false;
  #bounds;
  /** Bytes of what waits in front of the core. */
  #waitingBytes = 0;
  /** It is to be disconnected when it is connected and what waits has been sent. */
  #endsWhenOpened = false;
  /** It is connected, or not known to be otherwise. */
  #isOpen;
  #sending;
  /** What its events are told in. */
  origin = new Origin('CORRALCHANNEL');
  /** Takes requests and replies, for a channel without bounds. @type {((message: any, handle: any) => void) | undefined} */
  onRequest = undefined;
  /** Told behind the listeners for 'disconnect', whatever they throw. @type {(() => void) | undefined} */
  onDisconnected = undefined;

  /**
   * @param {Owner} owner
   * @param {number} id
   * @param {Target} child
   * @param {Serialization} serialization
   * @param {Bounds} [bounds] for a channel over a named socket, which `opened` tells of being connected
   * @param {Holding} [control] what keeps the process alive while something waits to be written, for a target whose
   *   `channel`, `send` and `disconnect` are Node's own
   */
  constructor(owner, id, child, serialization, bounds = undefined, control = undefined) {
    this.#owner = owner;
    this.#id = id;
    this.#child = child;
    this.#serialization = serialization;
    this.#bounds = bounds;
    this.#isOpen = bounds === undefined;
    // Node counts nothing at first: there a child process keeps its parent alive, whatever the channel does.
    this.#control = control ?? new Control(owner.keepAlive, () => owner.channelFd(this.#id), bounds ? 1 : 0);
    if (this.#control instanceof Control) this.#install(this.#control, bounds === undefined);
    child.on('newListener', (/** @type {string | symbol} */ name) => {
      if (name === 'internalMessage') owner.wantInternalMessages();
      inOwnTick(() => this.deliverUnheard());
    });
    this.#sending = new Sending(owner, id, { child, serialization, bounds, control: this.#control });
  }

  /**
   * @param {Control} control
   * @param {boolean} connected
   */
  #install(control, connected) {
    const child = this.#child;
    const channel = this;
    child.channel = control;
    child.connected = connected;
    child._handleQueue = connected ? null : [];
    child._pendingMessage = null;

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
      if (this.connected || (this.connecting && !channel.#endsWhenOpened))
        return this._send(message, handle, { swallowErrors: false, ...options }, callback);
      channel.#sending.fail(errors.channelClosed(), callback);
      return false;
    };

    this.installSend();

    child.disconnect = /** @this {Target} */ function disconnect() {
      if (!this.connected) {
        if (this.connecting && !channel.#endsWhenOpened) channel.#giveUp();
        else this.emit('error', errors.disconnected());
        return;
      }
      // No new messages. What waits for a handle to be acknowledged is still sent.
      this.connected = false;
      if (!this._handleQueue) this._disconnect();
    };

    child._disconnect = () => this.#disconnect();
  }

  /** What the target sends goes out here from now on. */
  installSend() {
    this.#child._send = (
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
    if (this.#bounds === undefined && !this.#owner.isToPrimary) {
      if (options.isAnswer) return this.#sending.answer(message);
      if (options.isReply && this.#sending.queued > MAX_UNREAD_REPLIES)
        return this.#sending.refuse(QUEUE_FULL, options, callback);
    }
    // A descriptor may be 0.
    if (this.#bounds && typeof handle === 'number') handle = { fd: handle };
    const wrapped = handle ? describe(handle, message, this.#bounds !== undefined) : undefined;
    // As it is now, whenever it goes out. (Node's messages that wait behind a handle are serialized late.)
    const frame = this.#bounds && this.#serialization.write(wrapped ?? message);
    // One handle at a time, and everything behind it waits for its acknowledgement, so that messages keep their
    // order even when a handle has to be sent again.
    if (child._handleQueue) {
      const kept = frame === undefined ? message : wrapped;
      return this.#wait({ message: kept, handle: handle ?? null, options, callback, frame });
    }
    return handle
      ? this.#sendHandle(wrapped, handle, options, callback, frame)
      : this.#sending.send(message, options, callback, frame);
  }

  /**
   * @param {any} message the NODE_HANDLE message
   * @param {any} handle
   * @param {SendOptions} options
   * @param {SendCallback | undefined} callback
   * @param {string | Buffer | undefined} frame the message, where there are bounds
   * @returns {boolean}
   */
  #sendHandle(message, handle, options, callback, frame) {
    const child = this.#child;
    const sending = this.#sending;
    sending.flush();
    if (this.#bounds && frame !== undefined) {
      // Before the handle is taken from whoever has it.
      const refusal = sending.refusalOf(frame);
      if (refusal < 0) return sending.refuse(refusal, options, callback);
    }
    // It stays its owner's, who may be about to connect or bind it.
    if (lacksDescriptor(message, handle)) return sending.refuse(NO_DESCRIPTOR, options, callback);
    const raw = takeApart(child, message, handle, options);
    if (!raw) {
      const { reread, write } = this.#serialization;
      // What `toJSON` makes undefined is not in the frame.
      const alone = frame === undefined ? undefined : write(reread(frame).msg ?? null);
      return sending.send(message.msg, options, callback, alone);
    }
    const closeWhenArrived = isGivenAway(message, options);
    // The core keeps a descriptor of its own until the handle has arrived, and the order as well: between channels of
    // ours several may be on their way.
    const isPipelined = this.#bounds !== undefined;
    let isSent = false;
    const answer = sending.write(message, raw, options, callback, frame, () => {
      isSent = true;
    });
    if (isSent && !isPipelined) {
      child._handleQueue = [];
      if (closeWhenArrived) child._pendingMessage = { callback, message, handle: raw, options };
    } else if (closeWhenArrived) {
      raw.close();
    }
    return answer;
  }

  /**
   * Sends a message that is serialized already, as one of several channels' messages. What cannot be written is told by
   * an 'error' event, unless the peer has gone: its 'disconnect' tells that.
   *
   * @param {any} message
   * @param {string | Buffer} frame
   * @returns {boolean}
   */
  sendFrame(message, frame) {
    const waiting = { message, handle: null, options: { isForAll: true }, callback: undefined, frame };
    if (this.#child._handleQueue) return this.#wait(waiting);
    return this.#sending.send(message, waiting.options, undefined, frame);
  }

  /**
   * Keeps what cannot be sent yet.
   *
   * @param {Waiting} waiting
   * @returns {boolean}
   */
  #wait(waiting) {
    const queue = this.#child._handleQueue;
    const { frame } = waiting;
    if (this.#bounds === undefined || frame === undefined) {
      queue.push(waiting);
      return queue.length === 1;
    }
    const bytes = sizeOf(frame) + limits().WAITING_WEIGHT;
    if (this.#waitingBytes > 0 && this.#waitingBytes + bytes > this.#bounds.maxQueuedBytes) {
      return this.#sending.refuse(QUEUE_FULL, waiting.options, waiting.callback);
    }
    this.#waitingBytes += bytes;
    queue.push(waiting);
    return this.#sending.isBelow(this.#waitingBytes);
  }

  /**
   * The core has written a frame that had to wait, or never will.
   *
   * @param {number} completion
   * @param {Error | null} error
   * @param {number} [written]
   */
  onWritten(completion, error, written = 0) {
    this.#sending.onWritten(completion, error, written);
  }

  /** What has not gone to the core yet never will. */
  dropBatch() {
    this.#sending.dropBatch();
  }

  /** @returns {() => void} to be called when what is sent from now on may be called back */
  holdCallbacks() {
    return this.#sending.holdCallbacks();
  }

  /** Sends at once what would go out at the end of this turn. */
  flush() {
    this.#sending.flush();
  }

  /** The handle sent last has arrived, or was given up: the next one's turn. */
  onHandleArrived() {
    if (this.#bounds) return;
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
    this.#sending.catchUp(() => {
      for (const waiting of queue) {
        try {
          this.#sendOne(waiting);
        } catch (error) {
          // What has become of it since `send` took it: no fault of those behind it.
          this.#sending.fail(/** @type {Error} */ (error), waiting.callback);
        }
      }
    });
    this.#sending.drained();
  }

  /** @param {Waiting} waiting its turn has come */
  #sendOne(waiting) {
    const { message, handle, options, callback, frame } = waiting;
    if (frame === undefined) this.#child._send(message, handle, options, callback);
    else if (this.#child._handleQueue) this.#wait(waiting);
    else if (handle) this.#sendHandle(message, handle, options, callback, frame);
    else this.#sending.send(message, options, callback, frame);
  }

  /**
   * The channel is connected: what was sent meanwhile goes out.
   *
   * @param {number} id the name that the core has for it by now
   * @param {number} maxMessageSize what the peer takes
   */
  opened(id, maxMessageSize) {
    this.#id = id;
    this.#isCondemned = false;
    this.#sending.opened(id, maxMessageSize);
    this.#isOpen = true;
    this.#child.connected = true;
    this.#sendWaiting();
    if (this.#endsWhenOpened) this.#child.disconnect();
  }

  /** Disconnects what is not connected yet: when what waits has been sent, if there is a connection under way for it. */
  #giveUp() {
    const child = this.#child;
    this.#endsWhenOpened = child._handleQueue.length > 0 && this.#bounds?.endsWithThisAttempt() === true;
    if (!this.#endsWhenOpened) child._disconnect();
  }

  onHandleLost() {
    process.emitWarning(
      'Handle did not reach the receiving process correctly',
      'SentHandleNotReceivedWarning',
    );
    this.onHandleArrived();
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
    for (const frame of this.#serialization.split(frames)) {
      if (this.#isCondemned) return;
      this.onMessage(frame);
    }
  }

  /** @param {string | Buffer} frame a message of the peer's, serialized */
  onMessage(frame) {
    if (!this.#isHeard) return;
    let message;
    try {
      message = this.#serialization.read(frame);
    } catch (error) {
      this.#condemn(error);
      return;
    }
    tellMessage(this, message, undefined, frame.length);
  }

  /**
   * @param {string | Buffer} frame a message of the peer's without what was large in it
   * @param {any} pieces
   */
  onApart(frame, pieces) {
    if (!this.#isHeard) return;
    let message;
    try {
      message = this.#serialization.putTogether(frame, pieces);
    } catch (error) {
      this.#condemn(error);
      return;
    }
    tellMessage(this, message, undefined, frame.length);
  }

  /**
   * @param {string | Buffer} frame a NODE_HANDLE message, serialized
   * @param {number} fd
   */
  onHandleMessage(frame, fd) {
    if (!this.#isHeard) {
      this.#owner.closeHandle(fd);
      return;
    }
    let message;
    let handle;
    try {
      message = this.#serialization.read(frame);
      handle = putTogether(this.#child, message, fd, this.#bounds !== undefined);
      guard(handle);
    } catch (error) {
      // Closed once: by now its number could be another's.
      if (!(/** @type {any} */ (error).descriptorTaken)) this.#owner.closeHandle(fd);
      this.#condemn(error);
      return;
    }
    tellMessage(this, message.msg, handle, frame.length + HANDLE_WEIGHT);
  }

  /** Whether what comes is for anybody. */
  get #isHeard() {
    return this.#child.channel && !this.#isCondemned;
  }

  /** @param {unknown} error a message that nobody can read is the end of its channel, and of nothing else */
  #condemn(error) {
    this.#isCondemned = true;
    const { message } = /** @type {Error} */ (error);
    // It may quote what the peer has sent.
    this.#owner.condemn(this.#id, message.slice(0, MAX_REASON));
  }

  /** @param {string | Buffer} frame an internal message that the core has dealt with */
  onInternal(frame) {
    if (!this.#isHeard) return;
    let message;
    try {
      message = this.#serialization.read(frame);
    } catch (error) {
      // The core and V8 need not agree on what can be read.
      this.#condemn(error);
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
    if (this.#isHeld) this.#keepUnheard(message, handle, bytes);
    else if (isInternal(message)) this.#emitInternal(message, handle);
    else if (this.#unheard.length === 0 && this.#child.listenerCount('message') > 0) {
      this.#child.emit('message', message, handle);
    } else {
      this.#keepUnheard(message, handle, bytes);
      // The listener may have come just now: nothing overtakes what waited for it.
      this.deliverUnheard();
    }
  }

  /**
   * @param {any} message
   * @param {any} handle
   */
  #emitInternal(message, handle) {
    this.#bounds?.onInternal(message, handle);
    this.onRequest?.(message, handle);
    this.#child.emit('internalMessage', message, handle);
  }

  /** Whether more wait for a listener than may. */
  get #isStuffed() {
    return this.#unheard.length >= MAX_UNHEARD || this.#unheardBytes >= MAX_UNHEARD_BYTES;
  }

  /**
   * @param {any} message
   * @param {any} handle
   * @param {number} bytes
   */
  #keepUnheard(message, handle, bytes) {
    this.#unheard.push([message, handle, bytes]);
    this.#unheardBytes += bytes;
    if (this.#bounds && !this.#isPaused && this.#isStuffed) {
      this.#isPaused = true;
      this.#bounds.wantMessages(false);
    }
  }

  /** Tells what waits, as long as somebody listens: a listener may be there for one message only. */
  deliverUnheard() {
    const child = this.#child;
    const unheard = this.#unheard;
    if (this.#isHeld || unheard.length === 0 || !(child.channel || this.#bounds)) return;
    let told = 0;
    /** @type {[any, any, number][]} */
    const kept = [];
    try {
      while (told < unheard.length && !this.#isHeld) {
        const [message, handle, bytes] = unheard[told++];
        this.#unheardBytes -= bytes;
        if (isInternal(message)) this.#emitInternal(message, handle);
        else if (child.listenerCount('message') > 0) child.emit('message', message, handle);
        else {
          kept.push([message, handle, bytes]);
          this.#unheardBytes += bytes;
          // What is held back may have requests in it, which wait for no listener.
          if (!this.#hasHeld) break;
        }
      }
    } finally {
      unheard.splice(0, told, ...kept);
    }
    if (!this.#isHeld) this.#hasHeld = false;
    if (this.#bounds && this.#isPaused && child.channel && !this.#isStuffed) {
      this.#isPaused = false;
      this.#bounds.wantMessages(true);
    }
  }

  /**
   * Takes back messages that a listener has got and not used: they are the first to be told again.
   *
   * @param {any[]} messages
   */
  putBack(messages) {
    if (this.#child.listenerCount('message') > 0) return;
    this.#unheard.unshift(
      ...messages.map((message) => /** @type {[any, any, number]} */ ([message, undefined, 0])),
    );
  }

  /** Tells nothing until `release`, also of what has been read already. */
  hold() {
    this.#isHeld = true;
    this.#hasHeld = true;
  }

  release() {
    this.#isHeld = false;
    inOwnTick(() => this.deliverUnheard());
  }

  /** Whether messages wait for `release`. */
  get isHolding() {
    return this.#isHeld && this.#unheard.length > 0;
  }

  #disconnect() {
    const child = this.#child;
    this.flush();
    child.channel = null;
    this.#closePendingHandle();
    // What is still to be written keeps the process alive until it is; where 'close' is the last event, that does.
    if (!this.#sending.isWaiting && !this.#bounds) this.#control.release();
    if (!this.#closed) this.#owner.closeChannel(this.#id);
    this.#tellDisconnected();
  }

  /** The connection is lost, and another one will be made: what has not been written waits for it. */
  lost() {
    const child = this.#child;
    const left = this.#sending.takeLeft().filter(({ options }) => !options.isForThisPeer);
    const waiting = [...left, ...(child._handleQueue ?? [])];
    this.#waitingBytes = waiting.reduce(
      (bytes, { frame }) => bytes + (frame ? sizeOf(frame) + limits().WAITING_WEIGHT : 0),
      0,
    );
    child._handleQueue = waiting;
    this.#closePendingHandle();
    child.connected = false;
    this.#tellDisconnected();
  }

  #tellDisconnected() {
    if (this.#isOpen) inOwnTick(() => this.#emitDisconnect());
    this.#isOpen = false;
  }

  #emitDisconnect() {
    try {
      this.#child.emit('disconnect');
    } finally {
      this.onDisconnected?.();
    }
  }

  /**
   * The peer's end is closed. The last that is heard of the channel.
   *
   * @param {Error | undefined} cause unless the peer closed it, or ended
   */
  onClosed(cause) {
    const child = this.#child;
    this.#closed = true;
    const queue = [...this.#sending.takeLeft(), ...(child._handleQueue ?? [])];
    child._handleQueue = null;
    this.#control.release();
    if (cause) inOwnTick(() => this.#owner.report(child, cause));
    if (child.channel) {
      child.connected = false;
      child._disconnect();
    }
    // Node leaves these callbacks uncalled.
    for (const { callback } of queue) {
      if (typeof callback === 'function') this.#sending.fail(errors.channelClosed(), callback);
    }
    // Messages may still find a listener; handles would stay open until then.
    for (const [, handle] of this.#unheard) if (handle !== undefined && this.#bounds) discard(handle);
    this.#unheard = this.#unheard.filter(([, handle]) => handle === undefined);
    this.#owner.closed(child);
  }
}

module.exports = { Channel };
