'use strict';

// Servers and clients for the programs, as promises.

const net = require('node:net');
const dgram = require('node:dgram');
const { once } = require('node:events');
const { alias } = require('./show.js');

/**
 * @param {import('node:net').ListenOptions} [options]
 * @param {(socket: import('node:net').Socket) => void} [onConnection]
 */
async function listen(options = { port: 0, host: '127.0.0.1' }, onConnection = undefined) {
  const server = net.createServer(onConnection);
  server.listen(options);
  await once(server, 'listening');
  return server;
}

/** @param {any} where a port, a path or what net.connect takes */
async function connect(where) {
  const options = typeof where === 'number' ? { port: where, host: '127.0.0.1' } : where;
  const socket = typeof options === 'string' ? net.connect(options) : net.connect(options);
  socket.setEncoding('utf8');
  await once(socket, 'connect');
  return socket;
}

/**
 * Both ends of a new connection.
 *
 * @param {import('node:net').Server} server
 */
async function pair(server) {
  const address = server.address();
  const target = typeof address === 'string' ? address : /** @type {any} */ (address).port;
  const [[accepted], client] = await Promise.all([once(server, 'connection'), connect(target)]);
  return { accepted, client };
}

/** Everything until the other side ends. @param {import('node:stream').Readable} stream */
async function readAll(stream) {
  const parts = [];
  stream.on('data', (part) => parts.push(String(part)));
  await once(stream, 'end');
  return parts.join('');
}

/**
 * Connects, sends, and reads until the other side ends; an error's code instead when there is one.
 *
 * @param {any} where
 * @param {string} [text]
 */
async function ask(where, text = '') {
  try {
    const socket = await connect(where);
    const answer = readAll(socket);
    socket.end(text);
    return await answer;
  } catch (error) {
    return error.code;
  }
}

/** @param {import('node:net').Server} server */
function close(server) {
  return new Promise((resolve) => server.close(resolve));
}

/** @param {import('node:net').Server} server */
function connections(server) {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => (error ? reject(error) : resolve(count)));
  });
}

/**
 * A port that nobody uses, below those that the system gives out: nobody else gets it meanwhile.
 *
 * @returns {Promise<number>}
 */
async function freePort() {
  for (let round = 0; round < 200; round++) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const server = net.createServer();
    try {
      server.listen({ port, host: '::', exclusive: true });
      await once(server, 'listening');
      await close(server);
      return /** @type {number} */ (alias(port, 'fixed port'));
    } catch {
      // Somebody has it.
    }
  }
  throw new Error('no free port in 200 tries');
}

/**
 * @param {'udp4' | 'udp6'} type
 * @param {any} options
 */
async function bind(type, options) {
  const socket = dgram.createSocket(type);
  socket.bind(options);
  await once(socket, 'listening');
  return socket;
}

module.exports = { listen, connect, pair, readAll, ask, close, connections, freePort, bind };
