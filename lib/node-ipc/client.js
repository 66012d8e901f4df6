'use strict';

// An entry of ipc.of: a connection to a server, which is made again when it is lost.

const net = require('node:net');
const tls = require('node:tls');

const { systemPath } = require('./addresses');
const { notConnected } = require('./errors');
const { Events } = require('./events');
const { log } = require('./log');
const { encode } = require('./messages');
const { Queue } = require('./queue');
const { StreamReceiver } = require('./receiving');
const { clientOptions } = require('./tls-options');

/** @typedef {import('../../node-ipc').Config} Config */

/** Of config.interface, or of config.interfaces as node-ipc's README calls it. */
const INTERFACE_KEYS = /** @type {const} */ (['localAddress', 'localPort', 'family', 'hints', 'lookup']);

class Client extends Events {
  /** @type {net.Socket | false} */
  socket = false;
  explicitlyDisconnected = false;
  queue = new Queue();
  /** @type {NodeJS.Timeout | undefined} */
  #retryTimer;

  /**
   * @param {Config} config
   * @param {{ id: string, path: string, port?: number }} where path: the host, if there is a port
   */
  constructor(config, { id, path, port }) {
    super();
    this.config = config;
    this.id = id;
    this.path = path;
    this.port = port;
    this.retriesRemaining = this.#maxRetries();
  }

  /** @param {...unknown} parts */
  log(...parts) {
    log(this.config, parts);
  }

  /**
   * Sends a message, or bytes.
   *
   * @param {any} type
   * @param {unknown} [data]
   */
  emit(type, data) {
    this.log('sending to', this.id, ':', type, data);
    const bytes = encode(this.config, type, data);
    if (this.config.sync) this.queue.add(() => this.#write(bytes));
    else this.#write(bytes);
  }

  connect() {
    this.log('connecting to', this.id, 'at', this.path, this.port);
    let socket;
    try {
      socket = this.#open();
    } catch (error) {
      // Not at once: the program gets the client, and listens, when this has returned.
      process.nextTick(() => {
        this.#onError(error);
        this.#onClose();
      });
      return;
    }
    this.socket = socket;
    const connected = socket instanceof tls.TLSSocket ? 'secureConnect' : 'connect';
    socket.on(connected, () => this.#onConnect());
    const receiver = new StreamReceiver(socket, this.config, {
      bytes: (bytes) => this.publish('data', bytes),
      message: (type, data) => {
        this.log('received from', this.id, ':', type, data);
        this.publish(type, data);
      },
      error: (error) => this.#onError(error),
      answered: () => this.queue.next(),
    });
    socket.on('error', (error) => receiver.behind(() => this.#onError(error)));
    socket.on('close', () => receiver.behind(() => this.#onClose()));
  }

  /** For good. */
  close() {
    this.explicitlyDisconnected = true;
    this.off('*', '*');
    if (this.socket) this.socket.destroy();
    if (this.#retryTimer === undefined) return;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    process.nextTick(() => this.publish('destroy'));
  }

  #open() {
    const { config, path, port } = this;
    if (port === undefined) return net.connect({ path: systemPath(path) });
    /** @type {any} */
    const where = { host: path, port };
    for (const key of INTERFACE_KEYS) {
      const value = config.interface?.[key] || config.interfaces?.[key];
      if (value) where[key] = value;
    }
    return config.tls ? tls.connect(clientOptions(config.tls, where)) : net.connect(where);
  }

  /** @param {Buffer} bytes */
  #write(bytes) {
    if (this.socket && !this.socket.destroyed) {
      this.socket.write(bytes);
      return;
    }
    process.nextTick(() => this.#onError(notConnected(this.id)));
  }

  #onConnect() {
    this.log('connected to', this.id);
    this.retriesRemaining = this.#maxRetries();
    this.queue.open();
    this.publish('connect');
  }

  /** @param {unknown} error */
  #onError(error) {
    this.log('error of', this.id, ':', error);
    this.publish('error', error);
  }

  #onClose() {
    this.log('disconnected from', this.id, ',', this.retriesRemaining, 'retries remain');
    this.queue.close();
    if (this.explicitlyDisconnected || this.config.stopRetrying || this.retriesRemaining < 1) {
      this.publish('disconnect');
      this.publish('destroy');
      return;
    }
    this.#retryTimer = setTimeout(() => this.#retry(), this.config.retry);
    this.publish('disconnect');
  }

  #retry() {
    this.#retryTimer = undefined;
    if (this.config.stopRetrying) {
      this.publish('destroy');
      return;
    }
    this.retriesRemaining--;
    this.connect();
  }

  #maxRetries() {
    return Number(this.config.maxRetries) || 0;
  }
}

module.exports = { Client };
