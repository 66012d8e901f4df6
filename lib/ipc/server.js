'use strict';

// A server whose connections are channels. Its surface is net.Server's.

const EventEmitter = require('node:events');
const os = require('node:os');
const util = require('node:util');

const errors = require('../errors');
const { integer } = require('../util/integer');
const { inOwnTick } = require('../channel/order');
const { Channel } = require('./channel');
const { listenOptions, termsOf } = require('./options');

/** @typedef {import('./reactor').Credentials} Credentials */
/** @typedef {ReturnType<typeof import('./reactor').ipcReactor>} IpcReactor */

/** Retries while another process holds the lock on the path, and the delay between them in ms. */
const LOCKED_TRIES = 100;
const LOCKED_PAUSE = 10;
const LOCKED = -os.constants.errno.EAGAIN;

/** Says that there is no bound. */
const UNBOUNDED = Number.MAX_SAFE_INTEGER;

class ChannelServer extends EventEmitter {
  #reactor;
  #terms;
  #listener = 0;
  #starting = false;
  #path = '';
  #maxConnections = UNBOUNDED;
  /** @type {Set<Channel>} */
  #connections = new Set();
  #isRef = true;
  /** The codes of which there has been a process warning. @type {Set<string | undefined>} */
  #warned = new Set();
  /** @type {NodeJS.Timeout | undefined} */
  #retry;
  #holds = false;

  /**
   * @param {IpcReactor} reactor
   * @param {any} options
   * @param {((channel: Channel) => void) | undefined} connectionListener
   */
  constructor(reactor, options, connectionListener) {
    super();
    this.#reactor = reactor;
    this.#terms = termsOf(options);
    this.#maxConnections = integer(options, 'maxConnections', UNBOUNDED, 0, UNBOUNDED);
    if (connectionListener) this.on('connection', connectionListener);
  }

  get listening() {
    return this.#listener !== 0;
  }

  /** The channels that are open. @returns {ReadonlySet<Channel>} */
  get connections() {
    return this.#connections;
  }

  get maxConnections() {
    return this.#maxConnections === UNBOUNDED ? undefined : this.#maxConnections;
  }

  set maxConnections(max) {
    this.#maxConnections = integer({ maxConnections: max }, 'maxConnections', UNBOUNDED, 0, UNBOUNDED);
    if (this.#listener !== 0) this.#reactor.setMaxConnections(this.#listener, this.#maxConnections);
  }

  /** @param {any[]} args a path and perhaps a backlog, or options; and perhaps a callback */
  listen(...args) {
    const { path, access, signal, callback } = listenOptions(args);
    if (this.#listener !== 0 || this.#starting) throw errors.serverAlreadyListening();
    if (signal !== undefined) this.#closeOn(signal);
    if (callback) this.once('listening', callback);
    this.#starting = true;
    this.#path = path;
    this.#listen(access, LOCKED_TRIES);
    return this;
  }

  /** @param {AbortSignal} signal */
  #closeOn(signal) {
    if (!(signal instanceof AbortSignal)) {
      throw errors.invalidArgType('options.signal', 'an instance of AbortSignal', signal);
    }
    const onAbort = () => this.close(() => {});
    if (signal.aborted) process.nextTick(onAbort);
    else {
      signal.addEventListener('abort', onAbort);
      this.once('close', () => signal.removeEventListener('abort', onAbort));
    }
  }

  /**
   * @param {{ readableAll: boolean, writableAll: boolean, backlog: number | undefined }} access
   * @param {number} tries
   */
  #listen(access, tries) {
    if (!this.#starting) return;
    const path = this.#path;
    let status;
    try {
      status = this.#reactor.listen(this, path, access, this.#terms, this.#maxConnections);
    } catch (error) {
      this.#failed(/** @type {Error} */ (error));
      return;
    }
    if (status === LOCKED && tries > 0) {
      this.#retry = setTimeout(() => this.#listen(access, tries - 1), LOCKED_PAUSE);
    } else if (status < 0) {
      this.#failed(listenError(status, path));
    } else {
      this.#starting = false;
      this.#listener = status;
      this.#hold();
      process.nextTick(() => {
        if (this.#listener === status) this.emit('listening');
      });
    }
  }

  /** @param {Error} error */
  #failed(error) {
    this.#starting = false;
    process.nextTick(() => this.emit('error', error));
  }

  /** While it listens, it keeps the process alive, unless the program has called `unref`. */
  #hold() {
    const holds = this.#isRef && this.#listener !== 0;
    if (holds === this.#holds) return;
    this.#holds = holds;
    if (holds) this.#reactor.keepAlive.hold();
    else this.#reactor.keepAlive.release();
  }

  ref() {
    this.#isRef = true;
    this.#hold();
    return this;
  }

  unref() {
    this.#isRef = false;
    this.#hold();
    return this;
  }

  /** @returns {string | null} */
  address() {
    return this.#listener === 0 ? null : this.#path;
  }

  /** @param {(error: Error | null, count: number) => void} callback */
  getConnections(callback) {
    process.nextTick(callback, null, this.#connections.size);
    return this;
  }

  /**
   * Listens no more; 'close' comes when the last channel has gone.
   *
   * @param {(error?: Error) => void} [callback]
   */
  close(callback) {
    const isRunning = this.#listener !== 0 || this.#starting;
    if (typeof callback === 'function') {
      if (isRunning) this.once('close', callback);
      else this.once('close', () => callback(errors.serverNotRunning()));
    }
    this.#starting = false;
    clearTimeout(this.#retry);
    if (this.#listener !== 0) this.#reactor.closeListener(this.#listener);
    this.#listener = 0;
    this.#hold();
    this.#closeIfEmpty();
    return this;
  }

  /** @returns {Promise<void>} */
  async [/** @type {any} */ (Symbol).asyncDispose ?? Symbol.for('nodejs.asyncDispose')]() {
    if (this.#listener !== 0) await util.promisify(this.close).call(this);
  }

  #closeIfEmpty() {
    if (this.#connections.size > 0) return;
    process.nextTick(() => {
      if (this.#listener === 0 && !this.#starting && this.#connections.size === 0) this.emit('close');
    });
  }

  /**
   * Sends a message to all, serialized once.
   *
   * @param {any} message
   * @returns {boolean} false when some of them are behind
   */
  broadcast(message) {
    if (message === undefined) throw errors.missingArgs('message');
    const frame = this.#terms.serialization.write(message);
    let isBelow = true;
    for (const channel of this.#connections) {
      if (/** @type {any} */ (channel).connected && !channel.messaging.sendFrame(message, frame))
        isBelow = false;
    }
    return isBelow;
  }

  /**
   * @ignore
   * @param {Credentials} peer
   */
  allows(peer) {
    return this.#terms.allow?.(peer);
  }

  /**
   * @ignore
   * @param {number} id
   * @param {import('./reactor').About} about
   * @returns {Channel}
   */
  onConnection(id, about) {
    const channel = new Channel({
      reactor: this.#reactor,
      terms: this.#terms,
      path: this.#path,
      server: this,
    });
    this.#connections.add(channel);
    channel.onConnected(id, about);
    inOwnTick(() => this.emit('connection', channel));
    return channel;
  }

  /**
   * @ignore
   * @param {Channel} channel
   */
  onClosed(channel) {
    this.#connections.delete(channel);
    if (this.#listener === 0) this.#closeIfEmpty();
  }

  /**
   * @ignore
   * @param {any} error what `allow` has thrown
   * @param {Credentials} peer
   */
  onAllowFailed(error, peer) {
    if (this.listenerCount('error') > 0) this.emit('error', error);
    else this.onClientError(error, peer);
  }

  /**
   * A client was refused; or several were, where too many came to report each.
   *
   * @ignore
   * @param {NodeJS.ErrnoException & { count: number }} error
   * @param {Credentials} peer the last of them
   */
  onRefused(error, peer) {
    const { code, count } = error;
    if (code === 'ERR_CORRAL_TOO_MANY_CONNECTIONS') this.emit('drop', { peer, path: this.#path, count });
    else this.onClientError(error, peer);
  }

  /**
   * A client was refused; or a message could not be read or sent on a channel that does not listen to its errors. With http, too,
   * a connection's errors are the server's 'clientError'.
   *
   * @ignore
   * @param {Error} error
   * @param {Credentials} peer
   * @param {Channel} [channel] if there is one
   */
  onClientError(error, peer, channel) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    if (this.listenerCount('clientError') > 0) this.emit('clientError', error, peer, channel);
    else this.#warn(error, code);
  }

  /**
   * Once for each code: a refused process can come again as often as it likes.
   *
   * @param {Error} error
   * @param {string | undefined} code
   */
  #warn(error, code) {
    if (this.#warned.has(code)) return;
    this.#warned.add(code);
    process.emitWarning(error);
  }
}

/**
 * @param {number} errno
 * @param {string} path
 */
function listenError(errno, path) {
  const code = util.getSystemErrorName(errno);
  const text = util.getSystemErrorMap().get(errno)?.[1];
  return Object.assign(new Error(`listen ${code}: ${text} ${path}`), {
    code,
    errno,
    syscall: 'listen',
    address: path,
    port: -1,
  });
}

module.exports = { ChannelServer };
