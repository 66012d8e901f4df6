'use strict';

// A server on a path, on TCP or on TLS.

const net = require('node:net');
const tls = require('node:tls');

const { systemPath } = require('./addresses');
const { notConnected } = require('./errors');
const { encode } = require('./messages');
const { StreamReceiver } = require('./receiving');
const { Server } = require('./server');
const { hasFile, removeStale, setMode } = require('./socket-file');
const { serverOptions } = require('./tls-options');

class StreamServer extends Server {
  /** Whether this start has looked for a stale file. */
  #hasRecovered = false;

  /**
   * @param {any} socket
   * @param {any} type
   * @param {unknown} [data]
   */
  emit(socket, type, data) {
    this.log('sending', ':', type, data);
    const bytes = encode(this.config, type, data);
    if (!socket.destroyed) {
      socket.write(bytes);
      return;
    }
    process.nextTick(() => this.failed(notConnected(socket.id), socket));
  }

  /**
   * @param {any} type
   * @param {unknown} [data]
   */
  broadcast(type, data) {
    this.log('sending to all', ':', type, data);
    const bytes = encode(this.config, type, data);
    for (const socket of this.sockets) if (!socket.destroyed) socket.write(bytes);
  }

  /**
   * @protected
   * @override
   */
  open() {
    const { config, port } = this;
    this.#hasRecovered = false;
    // A path is for this machine only: node-ipc has TLS there for servers, and no client that could talk to them.
    const isTls = port !== undefined && config.tls;
    const server = isTls ? tls.createServer(serverOptions(config.tls)) : net.createServer();
    server.on(isTls ? 'secureConnection' : 'connection', (socket) => this.#onConnection(socket));
    server.on('tlsClientError', (error) => this.log('refused a client:', error));
    server.on('drop', () => this.log('refused a client: config.maxConnections are there'));
    server.maxConnections = config.maxConnections;
    return server;
  }

  /**
   * @protected
   * @override
   * @param {net.Server} server
   */
  listen(server) {
    const { path, port } = this;
    if (port !== undefined) {
      server.listen(port, path);
      return;
    }
    const { readableAll, writableAll } = this.config;
    const system = systemPath(path);
    // Node's versions do not agree on the effect of these on a file.
    server.listen(hasFile(system) ? { path: system } : { path: system, readableAll, writableAll });
  }

  /**
   * @protected
   * @override
   * @param {net.Server} server
   */
  bound(server) {
    if (this.port === undefined) {
      if (hasFile(systemPath(this.path))) setMode(this.path, this.config);
      return undefined;
    }
    this.port = /** @type {net.AddressInfo} */ (server.address()).port;
    return undefined;
  }

  /**
   * @protected
   * @override
   * @param {NodeJS.ErrnoException} error
   */
  async recover({ code }) {
    if (code !== 'EADDRINUSE' || this.port !== undefined || !this.config.unlink) return false;
    if (this.#hasRecovered || !hasFile(systemPath(this.path))) return false;
    this.#hasRecovered = true;
    return removeStale(this.path);
  }

  /** @param {net.Socket} socket */
  #onConnection(socket) {
    const receiver = new StreamReceiver(socket, this.config, {
      bytes: (bytes) => this.publish('data', bytes, socket),
      message: (type, data) => this.received(type, data, socket),
      error: (error) => this.failed(error, socket),
    });
    socket.on('error', (error) => receiver.behind(() => this.failed(error, socket)));
    this.joined(socket, receiver);
  }
}

module.exports = { StreamServer };
