'use strict';

// A UDP socket. It is server and client in one: it has no connections, and answers the senders of datagrams.

const dgram = require('node:dgram');

const { notConnected } = require('./errors');
const { encode } = require('./messages');
const { DatagramReceiver } = require('./receiving');
const { Server } = require('./server');

/** @typedef {import('node:dgram').RemoteInfo} Sender */

class DatagramServer extends Server {
  #type;
  #receiver;

  /**
   * @param {import('../../node-ipc').Config} config
   * @param {{ path: string, port: number }} where
   * @param {'udp4' | 'udp6'} type
   */
  constructor(config, where, type) {
    super(config, where);
    this.#type = type;
    this.#receiver = new DatagramReceiver(config);
    this[type] = true;
  }

  /**
   * @param {{ address?: unknown, port?: unknown }} to without an address: all, as with broadcast
   * @param {any} type
   * @param {unknown} [data]
   */
  emit(to, type, data) {
    if (typeof to.address !== 'string' || !to.port) {
      this.broadcast(type, data);
      return;
    }
    this.log('sending to', to.address, to.port, ':', type, data);
    this.#send(encode(this.config, type, data), to);
  }

  /**
   * To the addresses that the program has put into `sockets`: a datagram's sender may be forged and is not remembered.
   *
   * @param {any} type
   * @param {unknown} [data]
   */
  broadcast(type, data) {
    this.log('sending to all', ':', type, data);
    const bytes = encode(this.config, type, data);
    // The first is the socket itself.
    for (const peer of this.sockets.slice(1)) this.#send(bytes, peer);
  }

  /**
   * @protected
   * @override
   */
  open() {
    const socket = dgram.createSocket(this.#type);
    socket.on('message', (datagram, sender) => this.#onMessage(datagram, sender));
    return socket;
  }

  /**
   * @protected
   * @override
   * @param {dgram.Socket} socket
   */
  listen(socket) {
    socket.bind(this.port, this.path);
  }

  /**
   * @protected
   * @override
   * @param {dgram.Socket} socket
   */
  bound(socket) {
    const { address, port } = socket.address();
    this.port = port;
    // Behind 'start', as in node-ipc.
    process.nextTick(() => this.joined(socket));
    return { address, port };
  }

  /**
   * @param {Buffer} bytes
   * @param {any} to
   */
  #send(bytes, { port, address }) {
    if (!this.server) {
      process.nextTick(() => this.failed(notConnected(`${address}:${port}`)));
      return;
    }
    this.server.send(bytes, port, address, (/** @type {Error | null} */ error) => {
      if (error) this.failed(error);
    });
  }

  /**
   * @param {Buffer} datagram
   * @param {Sender} sender
   */
  #onMessage(datagram, sender) {
    this.#receiver.add(datagram, {
      bytes: (bytes) => this.publish('data', bytes, sender),
      message: (type, data) => this.received(type, data, sender),
      error: (error) => this.failed(error, sender),
    });
  }
}

module.exports = { DatagramServer };
