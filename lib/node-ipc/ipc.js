'use strict';

// One instance: its config, its server and its connections. Nothing here needs the core. In this folder:
//
//   ipc.js              an instance
//   client.js           a connection to a server; queue.js: config.sync
//   server.js           what both kinds of servers have in common: stream-server.js, datagram-server.js
//   events.js           the events of a client or a server
//   messages.js         what is on the wire; frames.js: bytes into frames
//   receiving.js        messages one by one; turns.js: how many in one turn of the event loop
//   addresses.js        paths, and the arguments of serveNet and connectToNet; socket-file.js: the file of a Unix socket
//   defaults.js         ipc.config as it begins; tls-options.js: config.tls; log.js: ipc.log; errors.js

const { defaultPath, netArguments } = require('./addresses');
const { Client } = require('./client');
const { DatagramServer } = require('./datagram-server');
const { defaults } = require('./defaults');
const { log } = require('./log');
const { StreamServer } = require('./stream-server');

/** @typedef {(...args: any[]) => void} Callback */

class IPC {
  config = defaults();
  /** @type {Record<string, any>} */
  of = {};
  /** @type {any} */
  server = false;

  /** @param {...unknown} parts */
  log(...parts) {
    log(this.config, parts);
  }

  /**
   * @param {string | Callback} [path]
   * @param {Callback} [callback]
   */
  serve(path, callback) {
    const [where, onStart] = typeof path === 'function' ? ['', path] : [path, callback];
    const server = new StreamServer(this.config, { path: where || defaultPath(this.config, this.config.id) });
    this.server = server.on('start', onStart ?? (() => {}));
  }

  /** @param {...unknown} args host, port, UDPType, callback; any of them may be missing */
  serveNet(...args) {
    const { host: path, port, udp, callback } = netArguments(this.config, args);
    const where = { path, port };
    const server = udp ? new DatagramServer(this.config, where, udp) : new StreamServer(this.config, where);
    this.server = server.on('start', callback);
  }

  /**
   * @param {string} id
   * @param {string | Callback} [path]
   * @param {Callback} [callback]
   */
  connectTo(id, path, callback) {
    const [where, onCreated] = typeof path === 'function' ? ['', path] : [path, callback];
    this.#connect({ id, path: where || defaultPath(this.config, id) }, onCreated);
  }

  /**
   * @param {string} id
   * @param {...unknown} args host, port, callback; any of them may be missing
   */
  connectToNet(id, ...args) {
    const { host: path, port, callback } = netArguments(this.config, args);
    this.#connect({ id, path, port: port || Number(this.config.networkPort) }, callback);
  }

  /** @param {string} id */
  disconnect(id) {
    const client = this.#clientOf(id);
    delete this.of[id];
    client?.close();
  }

  /**
   * @param {{ id: string, path: string, port?: number }} where
   * @param {Callback} [callback] called at once: before there is a connection, so that it can listen for it
   */
  #connect(where, callback = () => {}) {
    const { id } = where;
    if (!id) {
      this.log('not connecting: there is no id');
      return;
    }
    const former = this.#clientOf(id);
    if (former?.socket && !former.socket.destroyed) {
      this.log('connected to', id, 'already');
      callback();
      return;
    }
    // It would go on trying, beside the new one.
    former?.close();
    const client = new Client(this.config, where);
    // Defined, not assigned: an id may be called __proto__.
    Object.defineProperty(this.of, id, {
      value: client,
      configurable: true,
      enumerable: true,
      writable: true,
    });
    client.connect();
    callback(this);
  }

  /**
   * @param {string} id
   * @returns {Client | undefined}
   */
  #clientOf(id) {
    return Object.hasOwn(this.of, id) ? this.of[id] : undefined;
  }
}

module.exports = { IPC };
