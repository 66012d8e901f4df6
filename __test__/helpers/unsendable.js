'use strict';

// Handles that cannot be sent: sockets that are more than what the kernel has of them, and what has no descriptor.

const dgram = require('node:dgram');
const fs = require('node:fs');
const http2 = require('node:http2');
const net = require('node:net');
const path = require('node:path');
const { Duplex } = require('node:stream');
const tls = require('node:tls');
const tty = require('node:tty');

const { next } = require('./events');

const FIXTURES = path.join(__dirname, '../fixtures/tls');

const pair = {
  key: fs.readFileSync(path.join(FIXTURES, 'key.pem')),
  cert: fs.readFileSync(path.join(FIXTURES, 'cert.pem')),
};

/**
 * @param {net.Server} server of this process's own, in a worker, too
 * @returns {Promise<number>} its port
 */
async function listen(server) {
  server.listen({ port: 0, host: '127.0.0.1', exclusive: true });
  await next(server, 'listening');
  return /** @type {net.AddressInfo} */ (server.address()).port;
}

/**
 * A TLS connection, both ends of it.
 *
 * @param {(port: number) => object} [how] the client connects
 */
async function encrypted(how = (port) => ({ port, host: '127.0.0.1' })) {
  const server = tls.createServer(pair);
  const port = await listen(server);
  const accepted = next(server, 'secureConnection');
  const client = tls.connect({ ...how(port), rejectUnauthorized: false });
  const [socket] = await Promise.all([accepted, next(client, 'secureConnect')]);
  server.close();
  return { client, socket };
}

/** @param {number} port @returns {Duplex} a connection that is no net.Socket */
function stream(port) {
  const socket = net.connect(port, '127.0.0.1');
  const duplex = new Duplex({
    read() {},
    write: (part, encoding, callback) => void socket.write(part, encoding, callback),
    final: (callback) => void socket.end(callback),
    destroy: (error, callback) => {
      socket.destroy();
      callback(error);
    },
  });
  socket.on('data', (part) => duplex.push(part)).on('close', () => duplex.destroy());
  return duplex;
}

/**
 * Sockets that are more than the handle beneath them, with a name for each. They are whole when whoever got them has not
 * taken anything from them.
 *
 * @returns {AsyncGenerator<[string, any]>}
 */
async function* wrapped() {
  {
    const { client, socket } = await encrypted();
    yield ['the server of a TLS connection', socket];
    yield ['the client of a TLS connection', client];
    const said = next(client, 'data');
    socket.write('still encrypted');
    if (String(await said) !== 'still encrypted') throw new Error('the connection is not what it was');
    client.destroy();
    socket.destroy();
  }
  {
    const { client, socket } = await encrypted((port) => ({ socket: stream(port) }));
    yield ['a TLS connection over a stream', client];
    yield ['what makes a socket of a stream', /** @type {any} */ (client)._handle._parentWrap];
    client.destroy();
    socket.destroy();
  }
  {
    const server = http2.createServer();
    const port = await listen(server);
    const connection = next(server, 'connection');
    const started = next(server, 'session');
    const client = http2.connect(`http://127.0.0.1:${port}`);
    const [socket, session] = await Promise.all([connection, started, next(client, 'connect')]);
    yield ['the socket that a session of http2 shows', session.socket];
    yield ['the socket beneath a session of http2', socket];
    yield ['the socket that a client of http2 shows', client.socket];
    const answered = new Promise((/** @type {(_: void) => void} */ resolve, reject) =>
      client.ping((error) => (error ? reject(error) : resolve())),
    );
    await answered;
    const closed = next(client, 'close');
    client.destroy();
    await closed;
    server.close();
  }
  if (process.platform === 'linux') {
    const terminal = new tty.ReadStream(fs.openSync('/dev/ptmx', 'r+'));
    yield ['a terminal', terminal];
    terminal.destroy();
  }
}

/**
 * Handles without a descriptor, with a name for each.
 *
 * @returns {AsyncGenerator<[string, any]>}
 */
async function* withoutDescriptor() {
  const server = net.createServer();
  const port = await listen(server);
  const connecting = net.connect(port, '127.0.0.1');
  const { constructor: TCP } = /** @type {any} */ (connecting)._handle;
  const accepted = next(server, 'connection');
  yield ['a socket that is being connected', connecting];
  // It goes on with that.
  const socket = await accepted;
  if (connecting.connecting) await next(connecting, 'connect');
  const raw = /** @type {any} */ (connecting)._handle;
  connecting.destroy();
  yield ['a raw handle that is closed', raw];
  socket.destroy();
  const unused = new TCP(0);
  yield ['a raw handle that was never used', unused];
  unused.close();
  server.close();
  const datagram = dgram.createSocket('udp4');
  yield ['a datagram socket that is not bound', datagram];
  const bound = next(datagram.bind({ port: 0, address: '127.0.0.1', exclusive: true }), 'listening');
  yield ['a datagram socket that is being bound', datagram];
  await bound;
  datagram.close();
}

/** What is no number of a descriptor; undefined as in a runtime whose handles have none. */
const NO_NUMBERS = [undefined, null, Number.NaN, -1, 1.5, '0', false, [], 2 ** 31];

/**
 * Handles that say no number of a descriptor, with a name for each.
 *
 * @returns {[string, any][]}
 */
function withoutNumber() {
  return NO_NUMBERS.map((fd) => {
    class TCP {
      fd = fd;
      close() {}
    }
    return [`a handle whose descriptor is ${JSON.stringify(fd)} (${typeof fd})`, new TCP()];
  });
}

module.exports = { withoutDescriptor, withoutNumber, wrapped };
