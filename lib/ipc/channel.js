'use strict';

// A channel over a named socket: a channel as `child_process.fork` gives it, between two programs
// that have nothing in common but a path. In this folder:
//
//   channel.js         a channel of either side: connecting, reading or not, ending
//   server.js          a server whose connections are channels
//   reactor.js         the core: listening, connecting, and the events of channels and servers
//   options.js         the options of both, checked
//   reconnect.js       when a client whose connection is lost makes the next one
//   async-iterator.js  `for await (const message of channel)`

const EventEmitter = require('node:events');

const { Channel: Messaging } = require('../channel/channel');
const { inOwnTick } = require('../channel/order');
const { Requests } = require('../channel/requests');
const { iterate } = require('./async-iterator');
const { delayOf, isTransient } = require('./reconnect');

/** @typedef {import('./reactor').Terms} Terms */
/** @typedef {import('./reactor').Credentials} Credentials */
/** @typedef {ReturnType<typeof import('./reactor').ipcReactor>} IpcReactor */

/** @typedef {'program' | 'undelivered' | 'loop'} Brake why the channel is not read for now */

/**
 * @typedef {object} Setting
 * @property {IpcReactor} reactor
 * @property {Terms} terms
 * @property {string} path
 * @property {import('./reconnect').Policy} [policy] a client's, for when its connection is lost
 * @property {import('./server').ChannelServer} [server] whose channel it is
 */

class Channel extends EventEmitter {
  #reactor;
  #terms;
  #policy;
  #server;
  #id = 0;
  #attempt = 0;
  /** @type {NodeJS.Timeout | undefined} */
  #timer;
  /** @type {Set<Brake>} */
  #brakes = new Set();
  /** Whether the reactor was asked to read it. */
  #isRead = true;
  #isOver = false;
  /** The end, which came while messages in front of it were held back. @type {(() => void) | undefined} */
  #endHeld;
  #isEnding = false;
  /** The program has no use for it any more: an error of its is not reported. */
  #isAbandoned = false;
  /** If this connection cannot be made, there will be no other. */
  #isLastAttempt = false;
  #requests;
  /** The part that sends and receives; for the reactor. @ignore */
  messaging;
  /** Whether the connection is being made. */
  connecting = true;
  /** The process at the other end, once connected. @type {Credentials | undefined} */
  peer = undefined;

  /** @param {Setting} setting */
  constructor({ reactor, terms, path, policy, server }) {
    super();
    this.#reactor = reactor;
    this.#terms = terms;
    this.#policy = policy;
    this.#server = server;
    this.path = path;
    this.messaging = new Messaging(this.#owner(), this.#id, this, terms.serialization, this.#bounds());
    Object.defineProperty(this, 'messaging', { enumerable: false });
    this.#requests = new Requests(this, () => this.#tellWhetherToRead());
  }

  /** @returns {import('../channel/channel').Owner} */
  #owner() {
    return {
      ...this.#reactor.ownerOf(this),
      closeChannel: () => this.#close(),
      report: (_channel, error) => this.report(error),
      closed: () => inOwnTick(() => this.#closed()),
    };
  }

  /** @returns {import('../channel/channel').Bounds} */
  #bounds() {
    return {
      maxQueuedBytes: this.#terms.maxQueuedBytes,
      keepsUnwritten: this.#policy !== undefined,
      wantMessages: (isWanted) => this.#brake('undelivered', isWanted),
      onInternal: (message, handle) => this.#requests.onInternal(message, handle),
      endsWithThisAttempt: () => {
        if (this.#id !== 0) this.#isLastAttempt = true;
        return this.#isLastAttempt;
      },
    };
  }

  /** Makes the connection; a client's. @ignore */
  connect() {
    this.connecting = true;
    this.#id = this.#reactor.connect(this, this.path, this.#terms);
  }

  /**
   * @ignore
   * @param {number} id
   * @param {import('./reactor').About} about
   */
  onConnected(id, { peer, maxMessageSize }) {
    // Given up while it was on its way; its end follows.
    if (this.#isEnding) return;
    this.#id = id;
    this.peer = peer;
    this.connecting = false;
    this.#attempt = 0;
    this.#isRead = true;
    this.#tellWhetherToRead();
    // Behind earlier events, in front of its messages and of the callbacks of those that waited.
    inOwnTick(() => this.emit('connect'));
    this.messaging.opened(id, maxMessageSize);
  }

  /**
   * The connection has ended, or could not be made.
   *
   * @ignore
   * @param {Error | undefined} cause
   */
  onEnd(cause) {
    if (this.messaging.incoming.isHolding && !this.#isEnding) {
      this.#endHeld = () => this.#end(cause);
      return;
    }
    this.#end(cause);
  }

  /** @param {Error | undefined} cause */
  #end(cause) {
    this.#id = 0;
    this.#endHeld = undefined;
    if (this.#isOver) return;
    if (this.#policy === undefined || this.#isEnding || this.#isLastAttempt || !isTransient(cause)) {
      this.#isEnding = true;
      this.#isOver = true;
      this.messaging.onClosed(this.#isAbandoned ? undefined : cause);
      this.connecting = false;
      inOwnTick(() => this.#requests.onDisconnect());
      return;
    }
    this.connecting = true;
    this.messaging.lost();
    inOwnTick(() => this.#requests.onDisconnect());
    const delay = delayOf(this.#policy, ++this.#attempt);
    inOwnTick(() => this.emit('reconnecting', { attempt: this.#attempt, delay, cause }));
    // Whether the channel keeps the process alive is said elsewhere.
    this.#timer = setTimeout(() => this.connect(), delay).unref();
  }

  #closed() {
    this.#server?.onClosed(this);
    this.emit('close');
  }

  #close() {
    this.#isEnding = true;
    if (this.connecting) this.#isAbandoned = true;
    clearTimeout(this.#timer);
    if (this.#endHeld) inOwnTick(() => this.#endHeld?.());
    else if (this.#id !== 0) this.#reactor.closeChannel(this.#id);
    else if (this.connecting) inOwnTick(() => this.onEnd(undefined));
  }

  /**
   * @ignore
   * @param {Error} error
   */
  report(error) {
    if (this.#server === undefined || this.listenerCount('error') > 0) this.emit('error', error);
    // A server does not die of a client's faults, nor of messages that a client does not read.
    else this.#server.onClientError(error, /** @type {Credentials} */ (this.peer), this);
  }

  /**
   * Whether a server of another user is trusted.
   *
   * @ignore
   * @param {Credentials} peer
   */
  allows(peer) {
    return this.#terms.allow?.(peer);
  }

  /**
   * @ignore
   * @param {any} error what `allow` has thrown
   */
  onAllowFailed(error) {
    this.emit('error', error);
  }

  /** Closes at once: messages that wait are not sent. */
  destroy() {
    if (this.#isEnding && this.#id === 0) return this;
    this.#isEnding = true;
    this.#isAbandoned = true;
    clearTimeout(this.#timer);
    /** @type {any} */ (this).connected = false;
    this.messaging.writeQueue.dropBatch();
    if (this.#endHeld) inOwnTick(() => this.#endHeld?.());
    else if (this.#id !== 0) this.#reactor.destroy(this.#id);
    else if (this.connecting) inOwnTick(() => this.onEnd(undefined));
    return this;
  }

  /** Lets the channel keep the process alive, as it does from the start. */
  ref() {
    /** @type {any} */ (this).channel?.ref();
    return this;
  }

  unref() {
    /** @type {any} */ (this).channel?.unref();
    return this;
  }

  /** Receives no more messages for now, and does not see the end either; the peer has to wait. */
  pause() {
    this.messaging.incoming.hold();
    this.#brake('program', false);
    return this;
  }

  resume() {
    this.messaging.incoming.release();
    this.#brake('program', true);
    if (this.#endHeld) inOwnTick(() => this.#endIfTold());
    return this;
  }

  /** The end comes when nothing is held back in front of it any more. */
  #endIfTold() {
    if (!this.messaging.incoming.isHolding) this.#endHeld?.();
  }

  isPaused() {
    return this.#brakes.has('program');
  }

  /**
   * @param {Brake} brake
   * @param {boolean} isWanted
   */
  #brake(brake, isWanted) {
    if (isWanted) this.#brakes.delete(brake);
    else this.#brakes.add(brake);
    this.#tellWhetherToRead();
  }

  /**
   * The channel is read while there is no brake, and while this side waits for a reply, which may come behind any number of
   * messages: then only the program's own pause counts.
   */
  #tellWhetherToRead() {
    const isRead = this.#requests.isPending ? !this.#brakes.has('program') : this.#brakes.size === 0;
    if (isRead === this.#isRead || this.#id === 0 || this.connecting) return;
    this.#isRead = isRead;
    this.#reactor.wantMessages(this.#id, isRead);
  }

  /**
   * @param {any} message
   * @param {import('../channel/requests').RequestOptions} [options]
   * @returns {Promise<any>} the peer's reply
   */
  request(message, options) {
    return this.#requests.request(message, options);
  }

  /** @param {((message: any, handle: any) => any) | undefined} responder answers the peer's requests */
  respond(responder) {
    this.#requests.respond(responder);
    return this;
  }

  /** @returns {AsyncGenerator<any, void, undefined>} */
  [Symbol.asyncIterator]() {
    return iterate(this, (isWanted) => this.#brake('loop', isWanted));
  }
}

module.exports = { Channel };
