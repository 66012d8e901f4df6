'use strict';

// One end of a channel: what a ChildProcess of `child_process.fork` has, on top of the core's channel. Semantics and order of
// events are Node's (internal/child_process, setupChannel). Channels over named sockets have bounds in addition, and a time
// before they are connected. In this folder:
//
//   channel.js          a message that is sent, its handle taken apart; opening, losing and closing
//   surface.js          `send`, `disconnect`, `connected` and `channel`, as `fork` puts them on a ChildProcess
//   control.js          `subprocess.channel`: whether the channel keeps the process alive
//   write-queue.js      messages on their way to the core, those of a turn together
//   completions.js      messages that the core has not written yet: their callbacks, and what the next connection gets
//   native-writer.js    the core's functions that write
//   events.js           events of the core that are a channel's own
//   order.js            the order of 'message', 'disconnect', 'exit' and 'close', and every tick that makes it
//   incoming.js         the peer's messages: read, and kept until somebody listens
//   handles.js          handles in messages, taken apart and put together; discard.js closes those that nobody wants,
//                       held-handles.js counts those that are open
//   socket-list.js      connections that a server counts although another process has them
//   requests.js         requests and replies; worker-requests.js: those of workers; asking.js: `worker.request` and `worker.respond`;
//                       request-window.js: how many may be under way between two workers; names.js: named channels, named-channel.js: one of them

const { checkMessage } = require('../util/check-message');
const { Control } = require('./control');
const errors = require('../errors');
const {
  describe,
  ignoreEarlyErrors,
  isGivenAway,
  lacksDescriptor,
  putTogether,
  takeApart,
} = require('./handles');
const { HANDLE_WEIGHT, UnderWay, heldOf, holderOf, waits, waitsNoMore } = require('./held-handles');
const { limits } = require('../limits');
const { Incoming } = require('./incoming');
const { sizeOf } = require('./native-writer');
const { inOwnTick, tellMessage } = require('./order');
const { Origin } = require('../util/origin');
const { RequestWindow } = require('./request-window');
const { addSend, addSurface } = require('./surface');
const { MAX_UNREAD_REPLIES, NO_DESCRIPTOR, QUEUE_FULL, WriteQueue } = require('./write-queue');

/** @typedef {import('../node-internals').RawHandle} RawHandle */
/** @typedef {import('../serialization').Serialization} Serialization */
/**
 * @typedef {object} SendOptions
 * @property {boolean} [swallowErrors]
 * @property {boolean} [keepOpen]
 * @property {boolean} [isForAll] it goes to several peers, of which some may have gone
 * @property {boolean} [isForThisPeer] it is of no use to the peer of a later connection
 * @property {number} [request] its number, of a request
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
 * The owner of a channel's other half, in the core: a reactor.
 * @typedef {object} Owner
 * @property {import('../util/keep-alive').KeepAlive} keepAlive
 * @property {(id: number) => number} channelFd
 * @property {import('./native-writer').NativeWriter} writer
 * @property {(id: number) => void} closeChannel
 * @property {(id: number, reason: string) => void} destroy closes the channel at once, which ends with an error for that reason
 * @property {(fd: number) => void} closeHandle
 * @property {() => void} wantInternalMessages
 * @property {(target: Target, error: Error) => void} report reports a fault of the peer's
 * @property {(target: Target) => void} closed is called last, when the channel has ended
 * @property {boolean} [isToPrimary] the peer is this process's primary, which is trusted and may ask without bounds. This process ends
 *   when its primary has ended, so a message that cannot be written because of that is no error
 */

/** A message that waits until a handle has arrived, or until the channel is connected. @typedef {import('./completions').Outgoing} Waiting */

/**
 * The bounds of a channel over a named socket, and what such a channel has in addition.
 * @typedef {object} Bounds
 * @property {number} maxQueuedBytes how much may wait
 * @property {boolean} keepsUnwritten what could not be written before the end waits for the next connection
 * @property {(isWanted: boolean) => void} wantMessages whether to go on reading
 * @property {(message: any, handle: any) => void} onInternal takes an internal message
 * @property {() => boolean} endsWithThisAttempt there is no other attempt to connect after the one under way, if there is one
 */

class Channel {
  #owner;
  #id;
  #child;
  #serialization;
  #control;
  #closed = false;
  #bounds;
  /** How many bytes wait in front of the core. */
  #waitingBytes = 0;
  /** It is to be disconnected when it is connected and what waits has been sent. */
  #endsWhenOpened = false;
  /** It is connected, or not known to be otherwise. */
  #isOpen;
  /** Handles that the core has. */
  #underWay = new UnderWay();
  /** What goes to the peer. */
  writeQueue;
  /** What the peer sends. */
  incoming;
  /** Where requests wait for those under way, and what is sent behind them. @type {RequestWindow | undefined} */
  #window;
  /** The async context of its events. */
  origin = new Origin('CORRALCHANNEL');
  /** Called behind the listeners for 'disconnect', whatever they throw. @type {(() => void) | undefined} */
  onDisconnected = undefined;

  /**
   * @param {Owner} owner
   * @param {number} id
   * @param {Target} child
   * @param {Serialization} serialization
   * @param {Bounds} [bounds] for a channel over a named socket, for which `opened` is called once it is connected
   * @param {import('./control').Holding} [control] what keeps the process alive while something waits to be written, for a target whose
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
    if (this.#control instanceof Control) addSurface(child, this, this.#control, this.#isOpen);
    this.incoming = new Incoming(child, serialization, bounds, (reason) => owner.destroy(this.#id, reason));
    if (!owner.isToPrimary)
      heldOf(child).onWithheld = (isWithheld) => owner.writer.withholdReceipts(this.#id, isWithheld);
    child.on('newListener', (/** @type {string | symbol} */ name) => {
      if (name === 'internalMessage') owner.wantInternalMessages();
      inOwnTick(() => this.incoming.deliver());
    });
    this.writeQueue = new WriteQueue(owner, id, { child, serialization, bounds, control: this.#control });
  }

  /** Has requests wait while many are under way. */
  boundRequests() {
    this.#window = new RequestWindow((outgoing) => this.#sendInTurn(outgoing));
    return this.#window;
  }

  /** What the target sends goes out here from now on. */
  installSend() {
    addSend(this.#child, this);
  }

  /**
   * @param {any} message
   * @param {any} handle
   * @param {SendOptions} [options]
   * @param {SendCallback} [callback]
   * @returns {boolean}
   */
  send(message, handle, options = {}, callback = undefined) {
    const child = this.#child;
    checkMessage(message);
    if (this.#bounds === undefined && !this.#owner.isToPrimary) {
      if (options.isAnswer) return this.writeQueue.answer(message);
      if (options.isReply && this.writeQueue.queued > MAX_UNREAD_REPLIES)
        return this.writeQueue.refuse(QUEUE_FULL, options, callback);
    }
    if (this.#window?.mustWait(options)) {
      // As it is now; who has a handle keeps it until its turn.
      const frame = handle ? undefined : this.#serialization.write(message);
      waits(handle);
      this.#window.wait({ message, handle: handle ?? null, options, callback, frame });
      return false;
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
      : this.writeQueue.send(message, options, callback, frame);
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
    const queue = this.writeQueue;
    queue.flush();
    if (this.#bounds && frame !== undefined) {
      // Before the handle is taken from its owner.
      const refusal = queue.refusalOf(frame);
      if (refusal < 0) return queue.refuse(refusal, options, callback);
    }
    // The handle stays with its owner, which may be about to connect or bind it.
    if (lacksDescriptor(message, handle)) return queue.refuse(NO_DESCRIPTOR, options, callback);
    const holder = holderOf(handle);
    const raw = takeApart(child, message, handle, options);
    if (!raw) {
      const { reread, write } = this.#serialization;
      // What `toJSON` makes undefined is not in the frame.
      const alone = frame === undefined ? undefined : write(reread(frame).msg ?? null);
      return queue.send(message.msg, options, callback, alone);
    }
    const closeWhenArrived = isGivenAway(message, options);
    // The core keeps a descriptor of its own until the handle has arrived, and the order as well: between channels of
    // ours several may be on their way.
    const isPipelined = this.#bounds !== undefined;
    let isSent = false;
    const answer = queue.write(message, raw, options, callback, frame, () => {
      isSent = true;
    });
    if (isSent && !isPipelined) {
      child._handleQueue = [];
      if (closeWhenArrived) child._pendingMessage = { callback, message, handle: raw, options };
    } else if (closeWhenArrived) {
      raw.close();
    }
    if (isSent && isPipelined) this.#underWay.add(holder);
    return answer;
  }

  /**
   * Sends a message that is serialized already, as one of several channels' messages. An 'error' event reports
   * a message that cannot be written, unless the peer has gone: then 'disconnect' comes.
   *
   * @param {any} message
   * @param {string | Buffer} frame
   * @returns {boolean}
   */
  sendFrame(message, frame) {
    const waiting = { message, handle: null, options: { isForAll: true }, callback: undefined, frame };
    if (this.#child._handleQueue) return this.#wait(waiting);
    return this.writeQueue.send(message, waiting.options, undefined, frame);
  }

  /**
   * Keeps what cannot be sent yet.
   *
   * @param {Waiting} waiting
   * @returns {boolean}
   */
  #wait(waiting) {
    const queue = this.#child._handleQueue;
    const { frame, handle } = waiting;
    if (this.#bounds === undefined || frame === undefined) {
      waits(handle);
      queue.push(waiting);
      return queue.length === 1;
    }
    const bytes = sizeOf(frame) + limits().WAITING_WEIGHT;
    if (this.#waitingBytes > 0 && this.#waitingBytes + bytes > this.#bounds.maxQueuedBytes) {
      return this.writeQueue.refuse(QUEUE_FULL, waiting.options, waiting.callback);
    }
    this.#waitingBytes += bytes;
    waits(handle);
    queue.push(waiting);
    return this.writeQueue.isBelow(this.#waitingBytes);
  }

  /** The handle sent last has arrived, or was given up: the next one's turn. */
  onHandleArrived() {
    if (this.#bounds) return this.#underWay.removeOldest();
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
    this.writeQueue.catchUp(() => {
      for (const waiting of queue) this.#sendInTurn(waiting);
    });
    this.writeQueue.drained();
  }

  /** @param {Waiting} waiting its turn has come */
  #sendInTurn(waiting) {
    const { message, handle, options, callback, frame } = waiting;
    waitsNoMore(handle);
    try {
      if (frame === undefined) this.#child._send(message, handle, options, callback);
      else if (this.#child._handleQueue) this.#wait(waiting);
      else if (handle) this.#sendHandle(message, handle, options, callback, frame);
      else this.writeQueue.send(message, options, callback, frame);
    } catch (error) {
      // The handle has changed since `send` took it. The messages behind it are sent all the same.
      this.writeQueue.fail(/** @type {Error} */ (error), callback);
    }
  }

  /**
   * The channel is connected: what was sent meanwhile goes out.
   *
   * @param {number} id the name that the core has for it by now
   * @param {number} maxMessageSize what the peer takes
   */
  opened(id, maxMessageSize) {
    this.#id = id;
    this.incoming.opened();
    this.writeQueue.opened(id, maxMessageSize);
    this.#isOpen = true;
    this.#child.connected = true;
    this.#sendWaiting();
    if (this.#endsWhenOpened) this.#child.disconnect();
  }

  /** Whether the target has been disconnected before it was connected: it takes no more messages. */
  get isGivenUp() {
    return this.#endsWhenOpened;
  }

  /** Disconnects what is not connected yet: when what waits has been sent, if there is a connection under way for it. */
  giveUp() {
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
   * @param {string | Buffer} frame of a NODE_HANDLE message
   * @param {number} fd
   */
  onHandleMessage(frame, fd) {
    const { incoming } = this;
    if (!incoming.isOpen) {
      this.#owner.closeHandle(fd);
      return;
    }
    let message;
    let handle;
    try {
      message = this.#serialization.read(frame);
      handle = putTogether(this.#child, message, fd, this.#bounds !== undefined);
      ignoreEarlyErrors(handle);
    } catch (error) {
      // Closed once: by now its number could be another's.
      if (!(/** @type {any} */ (error).descriptorTaken)) this.#owner.closeHandle(fd);
      incoming.fail(error);
      return;
    }
    tellMessage(incoming, message.msg, handle, frame.length + HANDLE_WEIGHT);
  }

  disconnect() {
    const child = this.#child;
    this.writeQueue.flush();
    child.channel = null;
    this.#closePendingHandle();
    // What is still to be written keeps the process alive until it is; where 'close' is the last event, that does.
    if (!this.writeQueue.isWaiting && !this.#bounds) this.#control.release();
    if (!this.#closed) this.#owner.closeChannel(this.#id);
    this.#tellDisconnected();
  }

  /** The connection is lost, and another one will be made: what has not been written waits for it. */
  lost() {
    const child = this.#child;
    const left = this.writeQueue.takeLeft().filter(({ options }) => !options.isForThisPeer);
    const waiting = [...left, ...(child._handleQueue ?? [])];
    this.#waitingBytes = waiting.reduce(
      (bytes, { frame }) => bytes + (frame ? sizeOf(frame) + limits().WAITING_WEIGHT : 0),
      0,
    );
    child._handleQueue = waiting;
    this.#underWay.clear();
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
   * The peer's end is closed. Nothing else comes from the core behind this.
   *
   * @param {Error | undefined} cause unless the peer closed it, or ended
   */
  onClosed(cause) {
    const child = this.#child;
    this.#closed = true;
    this.#underWay.clear();
    const unsent = [...(child._handleQueue ?? []), ...(this.#window?.take() ?? [])];
    for (const { handle } of unsent) waitsNoMore(handle);
    const queue = [...this.writeQueue.takeLeft(), ...unsent];
    child._handleQueue = null;
    this.#control.release();
    if (cause) inOwnTick(() => this.#owner.report(child, cause));
    if (child.channel) {
      child.connected = false;
      child._disconnect();
    }
    // Node leaves these callbacks uncalled.
    for (const { callback } of queue) {
      if (typeof callback === 'function') this.writeQueue.fail(errors.channelClosed(), callback);
    }
    this.incoming.onClosed();
    this.#owner.closed(child);
  }
}

module.exports = { Channel };
