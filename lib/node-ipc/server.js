'use strict';

// The common part of servers of streams and of datagrams: their lives, and their connections.

const { Events } = require('./events');
const { log } = require('./log');

/** @typedef {import('../../node-ipc').Config} Config */

/** @enum {string} */
const State = {
  /** It has no socket. */
  Stopped: 'stopped',
  /** It has one that is not bound yet. */
  Starting: 'starting',
  /** 'start' has been, or is being, published. */
  Started: 'started',
};

/**
 * @abstract
 */
class Server extends Events {
  /** Node's own server. @type {any} */
  server = false;
  /** @type {any[]} */
  sockets = [];
  udp4 = false;
  udp6 = false;
  #state = State.Stopped;

  /**
   * @param {Config} config
   * @param {{ path: string, port?: number }} where path: the host, if there is a port
   */
  constructor(config, { path, port }) {
    super();
    this.config = config;
    this.path = path;
    this.port = port;
  }

  /** @param {...unknown} parts */
  log(...parts) {
    log(this.config, parts);
  }

  start() {
    if (this.#state !== State.Stopped) {
      this.log('the server at', this.path, this.port, 'has been started already');
      return;
    }
    this.#state = State.Starting;
    this.server = false;
    try {
      const server = this.open();
      this.server = server;
      server.on('listening', () => this.#onListening(server));
      server.on('error', (/** @type {Error} */ error) => this.#onServerError(server, error));
      this.listen(server);
    } catch (error) {
      // Not at once, for programs that listen for it after this call.
      process.nextTick(() => this.#onServerError(this.server, error));
    }
  }

  /** Takes no new connections. Those that there are stay, as in node-ipc. */
  stop() {
    const isBound = this.#state === State.Started || this.server.listening;
    this.#state = State.Stopped;
    // A server that is still looking up its host, or the owner of its path, cannot be closed before it listens.
    if (isBound) this.server.close();
  }

  /**
   * @protected
   * @returns {any} a net.Server, a tls.Server or a dgram.Socket
   */
  open() {
    throw new Error('not implemented');
  }

  /**
   * @protected
   * @param {any} _server
   */
  listen(_server) {
    throw new Error('not implemented');
  }

  /**
   * Called when the server listens, before 'start'.
   *
   * @protected
   * @param {any} _server
   * @returns {unknown} what the handlers of 'start' get
   */
  bound(_server) {
    return undefined;
  }

  /**
   * Called for an error before the server listens.
   *
   * @protected
   * @param {any} _error
   * @returns {Promise<boolean>} whether to listen once more
   */
  async recover(_error) {
    return false;
  }

  /**
   * @protected
   * @param {unknown} error
   * @param {any} [socket]
   */
  failed(error, socket) {
    this.log('error of the server at', this.path, this.port, ':', error);
    this.publish('error', error, socket);
  }

  /**
   * @protected
   * @param {any} socket
   * @param {{ behind: (callback: () => void) => void }} [receiver] its messages are delivered before its end
   */
  joined(socket, receiver = { behind: (callback) => callback() }) {
    this.log('connected to the server at', this.path, this.port);
    this.sockets.push(socket);
    socket.on('close', (/** @type {unknown} */ hadError) =>
      receiver.behind(() => this.#left(socket, hadError)),
    );
    this.publish('connect', socket);
  }

  /**
   * A message for the program.
   *
   * @protected
   * @param {string} type
   * @param {any} data
   * @param {any} socket
   */
  received(type, data, socket) {
    this.log('received', ':', type, data);
    // A client gives its id by this.
    if (data?.id) socket.id = data.id;
    this.publish(type, data, socket);
  }

  /**
   * @param {any} socket
   * @param {unknown} hadError
   */
  #left(socket, hadError) {
    const index = this.sockets.indexOf(socket);
    if (index >= 0) this.sockets.splice(index, 1);
    this.log('disconnected from the server at', this.path, this.port, ':', socket.id);
    this.publish('socket.disconnected', socket, socket.id || false);
    this.publish('close', hadError);
  }

  /** @param {any} server */
  #onListening(server) {
    if (!this.#isStarting(server)) {
      server.close();
      return;
    }
    let started;
    try {
      started = this.bound(server);
    } catch (error) {
      this.#state = State.Stopped;
      server.close();
      this.failed(error);
      return;
    }
    this.#state = State.Started;
    this.log('started the server at', this.path, this.port);
    this.publish('start', started);
  }

  /**
   * @param {any} server
   * @param {unknown} error
   */
  async #onServerError(server, error) {
    if (!this.#isStarting(server)) {
      this.failed(error);
      return;
    }
    const again = await this.recover(error).catch(() => false);
    if (!this.#isStarting(server)) return;
    if (again) {
      this.listen(server);
      return;
    }
    this.#state = State.Stopped;
    // Out of the promise: an exception of a handler is like any other.
    process.nextTick(() => this.failed(error));
  }

  /** @param {any} server */
  #isStarting(server) {
    return this.#state === State.Starting && this.server === server;
  }
}

module.exports = { Server };
