'use strict';

// Ways of passing messages between unrelated processes over a path, each with the same small surface: a peer with
// `send`, and a function that is called with what it sends.

const nodeNet = require('node:net');

/**
 * @typedef {object} Peer
 * @property {(message: any) => unknown} send
 */

/**
 * @typedef {object} Transport
 * @property {(path: string, onPeer: (peer: Peer) => (message: any) => void) => Promise<void>} listen
 * @property {(path: string, onPeer: (peer: Peer) => (message: any) => void) => Promise<void>} connect
 */

/**
 * @param {'json' | 'advanced'} serialization
 * @returns {Transport}
 */
function corral(serialization) {
  const net = require('../../net');
  const options = /** @type {const} */ ({ ipc: true, serialization });
  return {
    listen: (path, onPeer) =>
      new Promise((resolve) => {
        const server = net.createServer(options, (channel) => void channel.on('message', onPeer(channel)));
        server.listen(path, resolve);
      }),
    connect: (path, onPeer) =>
      new Promise((resolve) => {
        const channel = net.connect({ ...options, path }, resolve);
        channel.on('message', onPeer(channel));
      }),
  };
}

/** JSON lines over a plain socket, as most programs write them who want no library. */
const lines = {
  /**
   * @param {nodeNet.Socket} socket
   * @param {(peer: Peer) => (message: any) => void} onPeer
   */
  attach(socket, onPeer) {
    const onMessage = onPeer({ send: (message) => socket.write(`${JSON.stringify(message)}\n`) });
    let rest = '';
    socket.setEncoding('utf8').on('data', (/** @type {any} */ chunk) => {
      const parts = (rest + chunk).split('\n');
      rest = parts.pop() ?? '';
      for (const part of parts) onMessage(JSON.parse(part));
    });
  },
};

/** @type {Transport} */
const raw = {
  listen: (path, onPeer) =>
    new Promise((resolve) => {
      nodeNet.createServer((socket) => lines.attach(socket, onPeer)).listen(path, resolve);
    }),
  connect: (path, onPeer) =>
    new Promise((resolve) => {
      const socket = nodeNet.connect(path, resolve);
      lines.attach(socket, onPeer);
    }),
};

/** The real node-ipc, from where NODE_IPC_DIRECTORY says that it is installed. */
function nodeIpc() {
  const { IPC } = require(require.resolve('node-ipc', { paths: [process.env.NODE_IPC_DIRECTORY ?? '.'] }));
  const ipc = new IPC();
  Object.assign(ipc.config, { silent: true, id: 'bench', unlink: true });
  return /** @type {Transport} */ ({
    listen: (path, onPeer) =>
      new Promise((resolve) => {
        ipc.serve(path, () => {
          /** @type {Map<any, (message: any) => void>} */
          const peers = new Map();
          ipc.server.on('connect', (/** @type {any} */ socket) => {
            peers.set(socket, onPeer({ send: (message) => ipc.server.emit(socket, 'message', message) }));
          });
          ipc.server.on('message', (/** @type {any} */ message, /** @type {any} */ socket) =>
            peers.get(socket)?.(message),
          );
          resolve();
        });
        ipc.server.start();
      }),
    connect: (path, onPeer) =>
      new Promise((resolve) => {
        ipc.connectTo('server', path, () => {
          const server = ipc.of.server;
          server.on('connect', resolve);
          server.on('message', onPeer({ send: (message) => server.emit('message', message) }));
        });
      }),
  });
}

/**
 * @param {string} name
 * @returns {Transport}
 */
function transport(name) {
  switch (name) {
    case 'corral':
      return corral('json');
    case 'corral-advanced':
      return corral('advanced');
    case 'raw':
      return raw;
    case 'node-ipc':
      return nodeIpc();
    default:
      throw new TypeError(`no transport called ${name}`);
  }
}

module.exports = { transport };
