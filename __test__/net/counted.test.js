'use strict';

// A net.Server counts its connections that others have, and waits for them when it closes; what others say of them is not
// believed.

const assert = require('node:assert/strict');
const { fork } = require('node:child_process');
const { EventEmitter } = require('node:events');
const builtin = require('node:net');
const path = require('node:path');
const { test } = require('node:test');

const { socketListsOf } = require('../../lib/channel/socket-list');
const { next } = require('../helpers/events');
const { GREETING, WATCHDOG_MS, open, pair, raw, serve } = require('../helpers/ipc');

const options = { timeout: WATCHDOG_MS };

/** A server of connections, which it hands to what `take` says. @param {any} t @param {(socket: any) => void} take */
async function giving(t, take) {
  const front = builtin.createServer(take).listen(0, '127.0.0.1');
  await next(front, 'listening');
  t.after(() => front.listening && front.close());
  const { port } = /** @type {any} */ (front.address());
  return { front, port };
}

/** @param {any} t @param {number} port @returns {any} a user of a server of connections */
function visit(t, port) {
  const user = builtin.connect(port, '127.0.0.1').resume();
  user.on('error', () => {});
  t.after(() => user.destroy());
  return user;
}

/** @param {any} front @returns {Promise<number>} */
function count(front) {
  return new Promise((resolve, reject) => {
    front.getConnections((/** @type {any} */ error, /** @type {number} */ number) =>
      error ? reject(error) : resolve(number),
    );
  });
}

/**
 * Runs with messages that carry a handle changed on their way out.
 *
 * @param {any} t
 * @param {(message: any) => any} change
 */
function lieOfHandles(t, change) {
  const { stringify } = JSON;
  JSON.stringify = (/** @type {any} */ value, /** @type {any[]} */ ...rest) =>
    stringify(value?.cmd === 'NODE_HANDLE' ? { ...value, ...change(value) } : value, ...rest);
  t.after(() => {
    JSON.stringify = stringify;
  });
}

/** @param {any} channel @param {number} wanted @returns {Promise<any[]>} handles that come */
function handles(channel, wanted) {
  return new Promise((resolve) => {
    /** @type {any[]} */
    const got = [];
    channel.on('message', function onMessage(/** @type {any} */ _, /** @type {any} */ handle) {
      got.push(handle);
      if (got.length < wanted) return;
      channel.removeListener('message', onMessage);
      resolve(got);
    });
  });
}

test('every key of a server that a peer thought of made a listener, and stayed', options, async (t) => {
  const { client, peer } = await pair(t);
  const { port } = await giving(t, (socket) => client.send('take', socket));
  let keys = 0;
  lieOfHandles(t, () => ({ key: `4:127.0.0.1:${keys++}` }));
  const rounds = 3;
  const wanted = 20;
  for (let round = 0; round < rounds; round++) {
    const arrived = handles(peer, wanted);
    for (let n = 0; n < wanted; n++) visit(t, port);
    const sockets = await arrived;
    assert.equal(peer.listenerCount('internalMessage'), 1);
    assert.equal(socketListsOf(peer).size, wanted);
    const closed = sockets.map((socket) => next(socket, 'close'));
    for (const socket of sockets) socket.destroy();
    await Promise.all(closed);
    assert.equal(socketListsOf(peer).size, 0);
  }
  assert.ok(keys >= rounds * wanted);
});

test('a connection that was handed on left its key behind', options, async (t) => {
  const { client, peer } = await pair(t);
  const further = await pair(t);
  const { front, port } = await giving(t, (socket) => client.send('take', socket));
  const arrived = handles(peer, 1);
  visit(t, port);
  const [socket] = await arrived;
  assert.equal(socketListsOf(peer).size, 1);
  assert.equal(await count(front), 1);
  const there = handles(further.peer, 1);
  further.client.send('take', socket);
  const [last] = await there;
  assert.equal(socketListsOf(peer).size, 0);
  // Nobody knows any more where it is: its server does not wait for it.
  assert.equal(await count(front), 0);
  const closed = next(front, 'close');
  front.close();
  await closed;
  last.destroy();
});

for (const [name, key] of /** @type {[string, any][]} */ ([
  ['longer than any', 'x'.repeat(5000)],
  ['no text', { toString: 1 }],
  ['a number', 17],
])) {
  test(`a connection whose server has a key that is ${name} ends its channel`, options, async (t) => {
    const { client, peer, server } = await pair(t);
    const { port } = await giving(t, (socket) => client.send('take', socket));
    client.on('error', () => {});
    lieOfHandles(t, () => ({ key }));
    const told = next(server, 'clientError');
    peer.on('message', () => assert.fail('delivered'));
    const ended = next(visit(t, port), 'close');
    const [error] = await Promise.all([told, ended]);
    assert.equal(error.code, 'ERR_CORRAL_BAD_FRAME');
  });
}

test(
  'a peer that asked a thousand times to be told of the end had a listener each time',
  options,
  async () => {
    const sent = /** @type {any[]} */ ([]);
    const channel = Object.assign(new EventEmitter(), {
      connected: true,
      _send: (/** @type {any} */ message) => sent.push(message),
    });
    const lists = socketListsOf(channel);
    const socket = /** @type {any} */ (new EventEmitter());
    lists.receive('key', socket);
    const listeners = socket.listenerCount('close');
    for (let n = 0; n < 1000; n++)
      channel.emit('internalMessage', { cmd: 'NODE_SOCKET_NOTIFY_CLOSE', key: 'key' });
    assert.deepEqual(
      [socket.listenerCount('close'), channel.listenerCount('internalMessage')],
      [listeners, 1],
    );
    assert.deepEqual(sent, []);
    socket.emit('close');
    assert.deepEqual(sent, [{ cmd: 'NODE_SOCKET_ALL_CLOSED', key: 'key' }]);
    // Asked after what it has no more, or never had.
    for (const cmd of ['NODE_SOCKET_NOTIFY_CLOSE', 'NODE_SOCKET_GET_COUNT']) {
      for (const key of ['key', '__proto__', 7, null, 'x'.repeat(5000)])
        channel.emit('internalMessage', { cmd, key });
    }
    assert.deepEqual(sent.slice(1), [
      { cmd: 'NODE_SOCKET_ALL_CLOSED', key: 'key' },
      { cmd: 'NODE_SOCKET_ALL_CLOSED', key: '__proto__' },
      { cmd: 'NODE_SOCKET_COUNT', key: 'key', count: 0 },
      { cmd: 'NODE_SOCKET_COUNT', key: '__proto__', count: 0 },
    ]);
  },
);

test('what a peer counts was believed, whatever it was', options, async (t) => {
  const server = await serve(t);
  const accepted = next(server, 'connection');
  const socket = await raw(t, server);
  let text = '';
  socket.setEncoding('utf8').on('data', (/** @type {string} */ part) => {
    text += part;
    for (;;) {
      const end = text.indexOf('\n');
      if (end < 0) break;
      const message = JSON.parse(text.slice(0, end));
      text = text.slice(end + 1);
      if (message.cmd === 'NODE_HANDLE') socket.write('{"cmd":"NODE_HANDLE_ACK"}\n');
      if (message.cmd !== 'NODE_SOCKET_GET_COUNT') continue;
      const lie = { cmd: 'NODE_SOCKET_COUNT', key: message.key, count: counts.shift() };
      socket.write(`${JSON.stringify(lie)}\n`);
    }
  });
  socket.write(GREETING);
  const peer = await accepted;
  peer.on('error', () => {});
  const { front, port } = await giving(t, (given) => peer.send('take', given));
  const sent = next(front, 'connection');
  visit(t, port);
  await sent;
  const counts = [-5, '7', 1e300, null, { valueOf: 1 }, 2];
  for (const expected of [0, 0, 0, 0, 0, 2]) assert.equal(await count(front), expected);
  // It never says that all are closed: the end of its channel does.
  const closed = next(front, 'close');
  front.close();
  socket.destroy();
  await closed;
});

test('clients that had a connection and left were asked for ever after', options, async (t) => {
  const server = await serve(t);
  /** @type {any} */
  let channel;
  const { front, port } = await giving(t, (socket) => channel.send('take', socket));
  for (let round = 0; round < 5; round++) {
    const accepted = next(server, 'connection');
    const client = open(t, server);
    channel = await accepted;
    const arrived = handles(client, 1);
    visit(t, port);
    const [socket] = await arrived;
    assert.equal(await count(front), 1);
    const left = next(channel, 'disconnect');
    client.destroy();
    await left;
    socket.destroy();
    assert.equal(/** @type {any} */ (front)._workers.length, 0);
    // Neither an error nor no answer.
    assert.equal(await count(front), 0);
  }
  const closed = next(front, 'close');
  front.close();
  await closed;
});

test('a server that closes waits for a connection that the peer has, and counts it', options, async (t) => {
  const { client, peer } = await pair(t);
  const { front, port } = await giving(t, (socket) => client.send('take', socket));
  const arrived = handles(peer, 3);
  for (let n = 0; n < 3; n++) visit(t, port);
  const sockets = await arrived;
  assert.equal(await count(front), 3);
  sockets[0].destroy();
  await next(sockets[0], 'close');
  assert.equal(await count(front), 2);
  let hasClosed = false;
  const closed = next(front, 'close').then(() => {
    hasClosed = true;
  });
  front.close();
  sockets[1].destroy();
  await next(sockets[1], 'close');
  await client.request('anything').catch(() => {});
  assert.equal(hasClosed, false);
  sockets[2].destroy();
  await closed;
});

test('a server waited for connections of the connection before, after a reconnection', options, async (t) => {
  const server = await serve(t);
  const accepted = next(server, 'connection');
  const client = open(t, server, { reconnect: { minDelay: 1, maxDelay: 10 } });
  const [first] = await Promise.all([accepted, next(client, 'connect')]);
  const { front, port } = await giving(t, (socket) => client.send('take', socket));
  const arrived = handles(first, 1);
  visit(t, port);
  const [kept] = await arrived;
  const again = Promise.all([next(server, 'connection'), next(client, 'connect')]);
  first.destroy();
  const [second] = await again;
  assert.equal(await count(front), 0);
  const there = handles(second, 1);
  visit(t, port);
  const [socket] = await there;
  assert.equal(await count(front), 1);
  const closed = next(front, 'close');
  front.close();
  socket.destroy();
  await closed;
  kept.destroy();
});

test('a server whose worker had a connection and ended never closed', options, async (t) => {
  const program = path.join(__dirname, '../fixtures/net/close-after-exit.js');
  const child = fork(program, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  t.after(() => child.kill('SIGKILL'));
  const said = /** @type {any[]} */ ([]);
  child.on('message', (message) => said.push(message));
  await next(child, 'exit');
  assert.deepEqual(said, [{ count: 0 }, 'closed']);
});
