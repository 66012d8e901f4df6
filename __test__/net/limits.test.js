'use strict';

// Limits: messages, queues, and the memory of who writes to a slow reader.

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { next, until } = require('../helpers/events');
const { isStopped, openFiles } = require('../helpers/proc');
const {
  GREETING,
  WATCHDOG_MS,
  messages,
  net,
  open,
  pair,
  pathFor,
  raw,
  serve,
  start,
} = require('../helpers/ipc');

const options = { timeout: WATCHDOG_MS };
const onLinux = { timeout: 120_000, skip: process.platform !== 'linux' && 'for Linux' };
const MB = 1 << 20;

for (const serialization of ['json', 'advanced']) {
  for (const side of ['client', 'server']) {
    test(`a message larger than the ${side} takes is not sent (${serialization})`, options, async (t) => {
      const own = side === 'client' ? { maxMessageSize: 1000 } : {};
      const { client, peer } = await pair(
        t,
        { serialization, ...(side === 'server' ? { maxMessageSize: 1000 } : {}) },
        { maxMessageSize: 64 * MB, ...own },
      );
      const [from, to] = side === 'client' ? [peer, client] : [client, peer];
      const error = await new Promise((resolve) => from.send('x'.repeat(2000), resolve));
      assert.equal(/** @type {any} */ (error)?.code, 'ERR_CORRAL_MESSAGE_TOO_LARGE');
      const failed = next(from, 'error');
      from.send('x'.repeat(2000));
      assert.equal((await failed).code, 'ERR_CORRAL_MESSAGE_TOO_LARGE');
      const got = messages(to, 1);
      from.send('x'.repeat(900));
      assert.equal((await got)[0].length, 900);
      // Only what the other one takes is limited.
      const back = messages(from, 1);
      to.send('y'.repeat(2000));
      assert.equal((await back)[0].length, 2000);
    });
  }
}

test('the exact limit is taken, one byte more is not', options, async (t) => {
  const { client, peer } = await pair(t, { maxMessageSize: 100 });
  const got = messages(peer, 1);
  /** @type {any[]} */
  const codes = [];
  for (let size = 90; size <= 110; size++) {
    client.send('x'.repeat(size), (/** @type {any} */ error) => codes.push(error?.code));
  }
  await got;
  await until(() => codes.length === 21);
  const taken = codes.indexOf('ERR_CORRAL_MESSAGE_TOO_LARGE');
  assert.ok(taken > 0);
  assert.ok(codes.slice(0, taken).every((code) => code === undefined));
  assert.ok(codes.slice(taken).every((code) => code === 'ERR_CORRAL_MESSAGE_TOO_LARGE'));
  // What is written is what is read: the channel lives.
  const alive = messages(peer, taken - 1 + 1);
  client.send('alive');
  assert.equal((await alive).at(-1), 'alive');
});

for (const size of ['a line', 'a length']) {
  const serialization = size === 'a line' ? 'json' : 'advanced';
  test(`a peer that sends ${size} beyond the limit is cut off, and nobody else`, options, async (t) => {
    const server = await serve(t, { serialization, maxMessageSize: 10_000 });
    const other = open(t, server, { serialization });
    const accepted = next(server, 'connection');
    await next(other, 'connect');
    const good = await accepted;
    const told = next(server, 'clientError');
    const socket = await raw(t, server);
    socket.resume();
    const gone = next(socket, 'close');
    socket.write(GREETING.replace('json', serialization));
    if (size === 'a line') socket.write(`"${'x'.repeat(50_000)}`);
    else socket.write(Buffer.from([0, 0, 0x40, 0]));
    const error = await told;
    assert.equal(error.code, 'ERR_CORRAL_FRAME_TOO_LARGE', error.message);
    await gone;
    const got = messages(good, 1);
    other.send('unharmed');
    assert.deepEqual(await got, ['unharmed']);
  });
}

test('maxQueuedBytes bounds what waits for a peer that does not read', options, async (t) => {
  const { client, peer } = await pair(t, {}, { maxQueuedBytes: MB });
  peer.pause();
  /** @type {any[]} */
  const failed = [];
  let sent = 0;
  const text = 'x'.repeat(10_000);
  while (failed.length === 0) {
    for (let n = 0; n < 100; n++) {
      client.send(text, (/** @type {any} */ error) => (error ? failed.push(error) : sent++));
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(failed[0].code, 'ERR_CORRAL_QUEUE_FULL');
  let got = 0;
  peer.on('message', () => got++);
  const drained = next(client, 'drain');
  peer.resume();
  await drained;
  await until(() => got === sent);
  assert.equal(await new Promise((resolve) => client.send('room again', resolve)), null);
});

test('a reader that is stopped does not grow the memory of the writer', onLinux, async (t) => {
  const server = await serve(t, { maxQueuedBytes: 4 * MB });
  const accepted = next(server, 'connection');
  const reader = start(t, 'client.js', [server.address()]);
  const peer = await accepted;
  await reader.line();
  process.kill(reader.pid, 'SIGSTOP');
  await until(() => isStopped(reader.pid));
  const before = process.memoryUsage().rss;
  const text = 'x'.repeat(64 << 10);
  let full = 0;
  for (let n = 0; n < 4000; n++) {
    peer.send(n === 0 ? 'first' : text, (/** @type {any} */ error) => {
      if (error?.code === 'ERR_CORRAL_QUEUE_FULL') full++;
    });
    if (n % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await new Promise((resolve) => setImmediate(resolve));
  // 250 MB were offered.
  assert.ok(full > 3000, `${full} were refused`);
  const grown = process.memoryUsage().rss - before;
  assert.ok(grown < 120 * MB, `grew by ${Math.round(grown / MB)} MB`);
  process.kill(reader.pid, 'SIGCONT');
  assert.deepEqual(await reader.line(), { event: 'message', message: 'first' });
});

test('ten thousand connections come and go: no descriptor stays', onLinux, async (t) => {
  const server = await serve(t);
  server.on('connection', (/** @type {any} */ channel) => channel.on('message', () => channel.disconnect()));
  const cycle = async () => {
    const client = net.connect({ ipc: true, path: server.address() });
    client.send('hello');
    await next(client, 'close');
  };
  const lines = async (/** @type {number} */ count) => {
    let left = count;
    const line = async () => {
      while (left-- > 0) await cycle();
    };
    await Promise.all(Array.from({ length: 20 }, line));
    await until(() => server.connections.size === 0);
  };
  await lines(1000);
  const [files, rss] = [openFiles(), process.memoryUsage().rss];
  await lines(9000);
  await until(() => openFiles() <= files);
  const grown = process.memoryUsage().rss - rss;
  assert.ok(grown < 100 * MB, `grew by ${Math.round(grown / MB)} MB`);
});

test('a client that only looks whether anybody listens is no error', options, async (t) => {
  const where = pathFor(t);
  const server = await serve(t, {}, { path: where });
  server.on('clientError', (/** @type {any} */ error) => assert.fail(error));
  for (let n = 0; n < 50; n++) (await raw(t, where)).destroy();
  const client = open(t, where);
  await next(client, 'connect');
});

/** A server, and two clients that take nothing larger than 1,000 bytes. @param {any} t */
async function withSmallClients(t) {
  const server = await serve(t);
  const clients = [];
  const channels = [];
  for (let n = 0; n < 2; n++) {
    const accepted = next(server, 'connection');
    const client = open(t, server, { maxMessageSize: 1000 });
    const [channel] = await Promise.all([accepted, next(client, 'connect')]);
    clients.push(client);
    channels.push(channel);
  }
  return { server, clients, channels };
}

test(
  "a broadcast that clients cannot take was an attack of theirs, on nobody's channel",
  options,
  async (t) => {
    const { server, clients, channels } = await withSmallClients(t);
    /** @type {any[]} */
    const told = [];
    server.on(
      'clientError',
      (/** @type {any} */ error, /** @type {any} */ peer, /** @type {any} */ channel) =>
        told.push([error.code, peer.pid, channels.indexOf(channel)]),
    );
    /** @type {any[]} */
    const heard = [];
    channels[1].on('error', (/** @type {any} */ { code }) => heard.push(code));
    server.broadcast('x'.repeat(2000));
    channels[0].send('x'.repeat(2000));
    const got = clients.map((client) => messages(client, 1));
    server.broadcast('small');
    assert.deepEqual(await Promise.all(got), [['small'], ['small']]);
    const tooLarge = ['ERR_CORRAL_MESSAGE_TOO_LARGE', process.pid, 0];
    assert.deepEqual(told, [tooLarge, tooLarge]);
    // Who listens to the errors of a channel has them.
    assert.deepEqual(heard, ['ERR_CORRAL_MESSAGE_TOO_LARGE']);
  },
);

test('a broadcast that clients cannot take, with nobody listening, is one warning', options, async (t) => {
  const { server, clients } = await withSmallClients(t);
  /** @type {any[]} */
  const warnings = [];
  const onWarning = (/** @type {any} */ { code }) => warnings.push(code);
  process.on('warning', onWarning);
  t.after(() => process.removeListener('warning', onWarning));
  for (let n = 0; n < 10; n++) server.broadcast('x'.repeat(2000));
  const got = clients.map((client) => messages(client, 1));
  server.broadcast('small');
  await Promise.all(got);
  assert.deepEqual(warnings, ['ERR_CORRAL_MESSAGE_TOO_LARGE']);
});

test(
  'a client that does not read: the server hears of what it broadcasts to it, and lives',
  options,
  async (t) => {
    const { server, client, peer } = await pair(t, { maxQueuedBytes: MB });
    client.pause();
    const told = new Promise((resolve) => {
      server.once('clientError', (/** @type {any[]} */ ...args) => resolve(args));
    });
    const text = 'x'.repeat(100_000);
    let isOver = false;
    told.then(() => {
      isOver = true;
    });
    while (!isOver) {
      server.broadcast(text);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const [error, { pid }, channel] = /** @type {any} */ (await told);
    assert.deepEqual([error.code, pid, channel], ['ERR_CORRAL_QUEUE_FULL', process.pid, peer]);
    server.on('clientError', () => {});
    client.resume();
    client.respond(() => 'read');
    assert.equal(await peer.request('what was sent?'), 'read');
  },
);
