'use strict';

// Servers and clients of corral/node-ipc, or of node-ipc itself: they look the same.

const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

const { IPC } = require('../../node-ipc');

const TLS = path.join(__dirname, '../fixtures/tls');

const SERVER_TLS = { private: path.join(TLS, 'key.pem'), public: path.join(TLS, 'cert.pem') };
const CLIENT_TLS = { trustedConnections: [path.join(TLS, 'cert.pem')], servername: 'localhost' };

/** Nothing takes nearly so long: what does waits for something that does not come. */
const LIMIT = { timeout: 120_000 };

/** Soon, but not at once: a test that is told of a retry has time to look at what was before it. */
const RETRY_MS = 10;

/**
 * A directory for sockets.
 *
 * @param {import('node:test').TestContext} t
 */
function scratch(t) {
  // Short, because a socket's path has no more than 107 bytes.
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-'));
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }));
  return `${directory}/`;
}

/**
 * An instance that is gone after the test.
 *
 * @param {import('node:test').TestContext} t
 * @param {new () => any} IPC
 * @param {object} [config]
 * @returns {any}
 */
function instance(t, IPC, config = {}) {
  const ipc = new IPC();
  Object.assign(ipc.config, { silent: true, retry: RETRY_MS }, config);
  t.after(() => {
    for (const id of Object.keys(ipc.of)) ipc.disconnect(id);
    if (!ipc.server) return;
    const { server } = ipc.server;
    if (server?.listening || (server?.fd ?? -1) >= 0) ipc.server.stop();
    for (const socket of ipc.server.sockets) socket.destroy?.();
    // Of UDP, whatever became of it.
    if (ipc.server.udp4 || ipc.server.udp6) server?.unref?.();
  });
  return ipc;
}

/**
 * The next event. 'error' is one like the others.
 *
 * @param {any} events
 * @param {string} type
 * @returns {Promise<any[]>} its arguments
 */
function next(events, type) {
  return new Promise((resolve) => {
    // Not `once`: node-ipc marks the function with it.
    const handler = (/** @type {any[]} */ ...args) => {
      events.off(type, handler);
      resolve(args);
    };
    events.on(type, handler);
  });
}

/** @param {any} ipc whose server is to be started, and has been when this is over */
async function started(ipc) {
  const start = next(ipc.server, 'start');
  const failed = next(ipc.server, 'error').then(([error]) => Promise.reject(error));
  ipc.server.start();
  await Promise.race([start, failed]);
  return ipc.server;
}

/** How a server is made, and a connection to it. @type {Record<string, Transport>} */
const TRANSPORTS = {
  'a Unix socket': {
    serverConfig: {},
    clientConfig: {},
    serve: (ipc, where) => ipc.serve(where.path),
    connect: (ipc, where) => ipc.connectTo('world', where.path),
  },
  TCP: {
    serverConfig: {},
    clientConfig: {},
    serve: (ipc, where) => ipc.serveNet('127.0.0.1', where.port),
    connect: (ipc, where) => ipc.connectToNet('world', '127.0.0.1', where.port),
  },
  TLS: {
    serverConfig: { tls: SERVER_TLS },
    clientConfig: { tls: CLIENT_TLS },
    serve: (ipc, where) => ipc.serveNet('127.0.0.1', where.port),
    connect: (ipc, where) => ipc.connectToNet('world', '127.0.0.1', where.port),
  },
};

/**
 * @typedef {object} Transport
 * @property {object} serverConfig
 * @property {object} clientConfig
 * @property {(ipc: any, where: { path: string, port: number }) => void} serve
 * @property {(ipc: any, where: { path: string, port: number }) => void} connect
 */

/**
 * A server, and a client that is connected to it.
 *
 * @param {import('node:test').TestContext} t
 * @param {Transport} transport
 * @param {{ Server: new () => any, Client: new () => any, config?: object, port?: number }} options
 */
async function pair(t, transport, { Server, Client, config = {}, port = 0 }) {
  const where = { path: `${scratch(t)}socket`, port };
  const serving = instance(t, Server, { ...structuredClone(transport.serverConfig), ...config });
  transport.serve(serving, where);
  const server = await started(serving);
  const address = server.server.address();
  if (typeof address === 'object') where.port = address.port;
  const connecting = instance(t, Client, { ...structuredClone(transport.clientConfig), ...config });
  const arrived = next(server, 'connect');
  transport.connect(connecting, where);
  const client = connecting.of.world;
  const failed = next(client, 'error').then(([error]) => Promise.reject(error));
  await Promise.race([next(client, 'connect'), failed]);
  failed.catch(() => {});
  const [socket] = await arrived;
  return { serving, connecting, server, client, socket, where };
}

/**
 * A server, and a plain socket that is connected to it.
 *
 * @param {import('node:test').TestContext} t
 * @param {object} [config]
 */
async function plainClient(t, config = {}) {
  const serving = instance(t, IPC, config);
  serving.serve(`${scratch(t)}socket`);
  const server = await started(serving);
  const arrived = next(server, 'connect');
  const client = net.connect(server.path);
  t.after(() => client.destroy());
  const [socket] = await arrived;
  return { server, client, socket };
}

/**
 * A plain server, and a client that is connected to it.
 *
 * @param {import('node:test').TestContext} t
 * @param {object} [config]
 */
async function plainServer(t, config = {}) {
  const path = `${scratch(t)}socket`;
  // The clients of the tests leave without a word.
  const server = net.createServer((socket) => socket.on('error', () => {})).listen(path);
  t.after(() => server.close());
  await once(server, 'listening');
  const connecting = instance(t, IPC, config);
  const arrived = once(server, 'connection');
  connecting.connectTo('world', path);
  await next(connecting.of.world, 'connect');
  const [socket] = await arrived;
  return { server, socket, connecting, client: connecting.of.world };
}

const OURS = { Server: IPC, Client: IPC };

module.exports = {
  CLIENT_TLS,
  LIMIT,
  OURS,
  SERVER_TLS,
  TRANSPORTS,
  instance,
  next,
  pair,
  plainClient,
  plainServer,
  scratch,
  started,
};
