'use strict';

// Connections that a net.Server of one process accepted and another process has: the server counts them, and waits
// for them when it closes, by asking over the channel (Node: internal/socket_list).

const EventEmitter = require('node:events');

const errors = require('./errors');

/** @typedef {import('./channel').Target} Target */

/** Connections that were sent to a worker. What net.Server calls its `_workers`. */
class SocketListSend extends EventEmitter {
  /**
   * @param {Target} child
   * @param {string} key
   */
  constructor(child, key) {
    super();
    this.child = child;
    this.key = key;
    child.once('exit', () => this.emit('exit', this));
  }

  /**
   * @param {string} cmd
   * @param {string} replyCmd
   * @param {boolean} swallowErrors
   * @param {(error: Error | null, reply?: any) => void} callback
   */
  #request(cmd, replyCmd, swallowErrors, callback) {
    const { child, key } = this;
    const onDisconnect = () => {
      child.removeListener('internalMessage', onReply);
      callback(errors.childClosedBeforeReply());
    };
    /** @param {any} message */
    const onReply = (message) => {
      if (message.cmd !== replyCmd || message.key !== key) return;
      child.removeListener('disconnect', onDisconnect);
      child.removeListener('internalMessage', onReply);
      callback(null, message);
    };
    if (!child.connected) return onDisconnect();
    child._send({ cmd, key }, undefined, swallowErrors);
    child.once('disconnect', onDisconnect);
    child.on('internalMessage', onReply);
  }

  /** @param {(error: Error | null) => void} callback called when the worker has closed all of them */
  close(callback) {
    this.#request('NODE_SOCKET_NOTIFY_CLOSE', 'NODE_SOCKET_ALL_CLOSED', true, callback);
  }

  /** @param {(error: Error | null, count?: number) => void} callback */
  getConnections(callback) {
    this.#request('NODE_SOCKET_GET_COUNT', 'NODE_SOCKET_COUNT', false, (error, reply) => {
      if (error) callback(error);
      else callback(null, reply.count);
    });
  }
}

/** Connections that came from a worker, whose server asks after them. */
class SocketListReceive extends EventEmitter {
  /**
   * @param {Target} child
   * @param {string} key
   */
  constructor(child, key) {
    super();
    this.child = child;
    this.key = key;
    this.connections = 0;
    child.on('internalMessage', (/** @type {any} */ message) => {
      if (message.key !== key) return;
      if (message.cmd === 'NODE_SOCKET_NOTIFY_CLOSE') {
        if (this.connections === 0) this.#tellEmpty();
        else this.once('empty', () => this.#tellEmpty());
      } else if (message.cmd === 'NODE_SOCKET_GET_COUNT' && child.connected) {
        child._send({ cmd: 'NODE_SOCKET_COUNT', key, count: this.connections });
      }
    });
  }

  #tellEmpty() {
    if (this.child.connected)
      this.child._send({ cmd: 'NODE_SOCKET_ALL_CLOSED', key: this.key }, undefined, true);
  }

  /** @param {{ socket: import('node:net').Socket }} entry */
  add({ socket }) {
    this.connections++;
    socket.once('close', () => {
      this.connections--;
      if (this.connections === 0) this.emit('empty', this);
    });
  }
}

module.exports = { SocketListSend, SocketListReceive };
