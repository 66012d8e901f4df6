'use strict';

// Clients that connect again.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const { next, until } = require('../helpers/events');
const {
  WATCHDOG_MS,
  messages,
  net,
  open,
  pathFor,
  record,
  scratch,
  serve,
  shut,
  start,
} = require('../helpers/ipc');

const options = { timeout: WATCHDOG_MS };
const FAST = { reconnect: { minDelay: 1, maxDelay: 20 } };

/** @param {any} t @param {string} where a server that a client may find before this process hears that it listens */
function listening(t, where) {
  const server = net.createServer({ ipc: true }).listen(where);
  t.after(() => shut(server));
  return server;
}

/** @param {string} log */
function logged(log) {
  return fs.existsSync(log)
    ? fs
        .readFileSync(log, 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line))
    : [];
}

test(
  'a client waits for its server: what it sent meanwhile arrives once and in order',
  options,
  async (t) => {
    const where = pathFor(t);
    const client = open(t, where, FAST);
    /** @type {any[]} */
    const attempts = [];
    client.on('reconnecting', (/** @type {any} */ about) => attempts.push(about));
    for (let n = 0; n < 100; n++) client.send(n);
    await until(() => attempts.length >= 3);
    const connected = next(client, 'connect');
    const server = listening(t, where);
    const got = messages(await next(server, 'connection'), 100);
    await connected;
    assert.deepEqual(
      await got,
      Array.from({ length: 100 }, (_, n) => n),
    );
    for (const [index, { attempt, delay, cause }] of attempts.entries()) {
      assert.equal(attempt, index + 1);
      assert.ok(delay >= 0 && delay <= 20);
      // While the server comes, its file is there before anybody listens.
      const expected = index < 3 ? ['ENOENT'] : ['ENOENT', 'ECONNREFUSED'];
      assert.ok(expected.includes(cause.code), cause.code);
    }
  },
);

test(
  'the server is killed and started again: nothing twice, nothing out of order, what waited arrives',
  options,
  async (t) => {
    const directory = scratch(t);
    const [where, log] = [path.join(directory, 's'), path.join(directory, 'log')];
    let server = start(t, 'restarting.js', [where, log]);
    await server.line();
    const client = open(t, where, FAST);
    const seen = record(client, ['connect', 'disconnect', 'close', 'error']);
    await next(client, 'connect');
    let n = 0;
    for (let round = 0; round < 4; round++) {
      for (let count = 0; count < 500; count++) client.send(n++);
      await client.request(n++);
      const lost = next(client, 'disconnect');
      await server.kill();
      await lost;
      assert.equal(client.connected, false);
      assert.equal(client.connecting, true);
      for (let count = 0; count < 50; count++) client.send(n++);
      server = start(t, 'restarting.js', [where, log]);
      await server.line();
      await client.request(n++);
    }
    // All was sent while it was connected and answered behind, or while it was not.
    assert.deepEqual(
      logged(log),
      Array.from({ length: n }, (_, index) => index),
    );
    assert.deepEqual(seen, ['connect', ...Array.from({ length: 4 }, () => ['disconnect', 'connect']).flat()]);
  },
);

test('what was written is not sent again, what waited is', options, async (t) => {
  const where = pathFor(t);
  const first = net.createServer({ ipc: true }).listen(where);
  const accepted = next(first, 'connection');
  const client = open(t, where, FAST);
  const peer = await accepted;
  peer.pause();
  const size = 10_000;
  const text = 'x'.repeat(size);
  /** @type {Set<number>} */
  const written = new Set();
  const count = 500;
  for (let n = 0; n < count; n++) {
    client.send({ n, text }, (/** @type {any} */ error) => {
      if (error === null) written.add(n);
    });
  }
  await until(() => written.size > 0);
  const before = new Set(written);
  await shut(first);
  const second = listening(t, where);
  const other = await next(second, 'connection');
  const got = /** @type {number[]} */ ([]);
  other.on('message', (/** @type {any} */ { n }) => got.push(n));
  other.respond(() => {});
  await client.request('all?');
  assert.ok(got.length > 0);
  assert.equal(got.length + got[0], count);
  for (const [index, n] of got.entries()) assert.equal(n, got[0] + index);
  for (const n of before) assert.ok(n < got[0], `${n} was written and came again`);
  await until(() => written.size === count);
});

test('the queue of what waits for a connection has its limit', options, async (t) => {
  const client = open(t, pathFor(t), { ...FAST, maxQueuedBytes: 1000 });
  const text = 'x'.repeat(300);
  // Each counts for something more than its bytes.
  for (let n = 0; n < 2; n++) client.send(text);
  const error = await new Promise((resolve) => assert.equal(client.send(text, resolve), false));
  assert.equal(/** @type {any} */ (error).code, 'ERR_CORRAL_QUEUE_FULL');
});

for (const how of ['disconnect', 'destroy']) {
  test(`${how}() while waiting ends it`, options, async (t) => {
    const client = open(t, pathFor(t), { reconnect: { minDelay: 100_000, maxDelay: 100_000 } });
    const seen = record(client, ['reconnecting', 'disconnect', 'error', 'close']);
    const sent = new Promise((resolve) => client.send('x', resolve));
    await next(client, 'reconnecting');
    client[how]();
    await next(client, 'close');
    assert.equal(/** @type {any} */ (await sent).code, 'ERR_IPC_CHANNEL_CLOSED');
    assert.deepEqual(seen, ['reconnecting', 'close']);
    assert.deepEqual([client.connected, client.connecting], [false, false]);
  });

  test(`${how}() during the attempt to connect again ends it`, options, async (t) => {
    const where = pathFor(t);
    const first = net.createServer({ ipc: true }).listen(where);
    const client = open(t, where, FAST);
    await next(client, 'connect');
    await shut(first);
    // From here on somebody accepts and says nothing.
    const silent = net.createServer((/** @type {any} */ socket) => socket.on('error', () => {}).resume());
    silent.listen(where);
    await next(silent, 'connection');
    t.after(() => silent.close());
    client[how]();
    await next(client, 'close');
    assert.deepEqual([client.connected, client.connecting, client.channel], [false, false, null]);
  });
}

/** What will not get better. @type {Record<string, (t: any, where: string) => any>} */
const FINAL = {
  ERR_CORRAL_SERIALIZATION: (t, where) => serve(t, { serialization: 'advanced' }, { path: where }),
  ERR_CORRAL_VERSION: (t, where) => saying(t, where, '{"corral":2,"serialization":"json","maxMessage":5}\n'),
  ERR_CORRAL_PEER_NOT_ALLOWED: (t, where) => saying(t, where, '{"corral":1,"refused":"peer"}\n'),
};

/** @param {any} t @param {string} where @param {string} line */
async function saying(t, where, line) {
  const server = net.createServer((/** @type {any} */ socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end(line));
  });
  server.listen(where);
  await next(server, 'listening');
  t.after(() => server.close());
  return server;
}

for (const [code, prepare] of Object.entries(FINAL)) {
  test(`${code} is the end: it is not tried again`, options, async (t) => {
    const where = pathFor(t);
    const server = await prepare(t, where);
    server.on('clientError', () => {});
    const client = open(t, where, FAST);
    const seen = record(client, ['reconnecting', 'error', 'close']);
    const error = next(client, 'error');
    const closed = next(client, 'close');
    assert.equal((await error).code, code);
    await closed;
    assert.deepEqual(seen, ['error', 'close']);
  });
}

test('there are never two connections', options, async (t) => {
  const where = pathFor(t);
  const client = open(t, where, { reconnect: { minDelay: 0, maxDelay: 1 } });
  for (let round = 0; round < 20; round++) {
    const server = net.createServer({ ipc: true }).listen(where);
    const connected = next(client, 'connect');
    const peer = await next(server, 'connection');
    await connected;
    peer.respond(() => server.connections.size);
    assert.equal(await client.request('how many?'), 1);
    await shut(server);
  }
});

test(
  'a server that closes the channel is connected to again, one that is left is not',
  options,
  async (t) => {
    const server = await serve(t);
    const client = open(t, server, FAST);
    const [first] = await Promise.all([next(server, 'connection'), next(client, 'connect')]);
    const again = Promise.all([next(server, 'connection'), next(client, 'connect')]);
    first.disconnect();
    await again;
    const seen = record(client, ['reconnecting', 'disconnect', 'close']);
    client.disconnect();
    await next(client, 'close');
    assert.deepEqual(seen, ['disconnect', 'close']);
  },
);

test('a handle that waits for the connection arrives with its message', options, async (t) => {
  const where = pathFor(t);
  const client = open(t, where, FAST);
  await next(client, 'reconnecting');
  const fd = fs.openSync(__filename, 'r');
  t.after(() => fs.closeSync(fd));
  client.send('file', fd);
  client.send('behind');
  const server = listening(t, where);
  const peer = await next(server, 'connection');
  /** @type {any[]} */
  const seen = [];
  peer.on('message', (/** @type {any} */ message, /** @type {any} */ handle) => {
    seen.push([message, typeof handle]);
    if (handle !== undefined) fs.closeSync(handle);
  });
  await until(() => seen.length === 2);
  assert.deepEqual(seen, [
    ['file', 'number'],
    ['behind', 'undefined'],
  ]);
});
