'use strict';

// The life of servers and channels: the order of their events, what keeps a process alive, and what is refused.

const assert = require('node:assert/strict');
const { fork } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const { blockUntil, next, until } = require('../helpers/events');
const { WATCHDOG_MS, messages, net, open, pair, pathFor, record, serve, start } = require('../helpers/ipc');
const { isDead } = require('../helpers/proc');

const options = { timeout: WATCHDOG_MS };
const EVENTS = ['connect', 'message', 'disconnect', 'error', 'close'];

test('events come in order at both ends, and close comes last', options, async (t) => {
  const server = await serve(t);
  const client = open(t, server);
  const seen = [record(client, EVENTS)];
  const peer = await next(server, 'connection');
  seen.push(record(peer, EVENTS));
  assert.equal(peer.connected, true);
  peer.once('message', () => peer.disconnect());
  client.send('bye');
  await Promise.all([next(client, 'close'), next(peer, 'close')]);
  assert.deepEqual(seen, [
    ['connect', 'disconnect', 'close'],
    ['message', 'disconnect', 'close'],
  ]);
  for (const channel of [client, peer]) {
    assert.deepEqual([channel.connected, channel.connecting, channel.channel], [false, false, null]);
  }
});

test('everything sent before disconnect() arrives before the end', options, async (t) => {
  const { client, peer } = await pair(t);
  const ended = next(peer, 'disconnect');
  let count = 0;
  peer.on('message', () => count++);
  for (let n = 0; n < 2000; n++) client.send('x'.repeat(1000));
  client.disconnect();
  await ended;
  assert.equal(count, 2000);
});

test('destroy() ends a channel at once, whatever waits', options, async (t) => {
  const { client, peer } = await pair(t);
  peer.pause();
  while (client.send('x'.repeat(100_000)));
  const called = new Promise((resolve) => client.send('last', resolve));
  const closed = next(client, 'close');
  assert.equal(client.destroy(), client);
  client.destroy();
  await closed;
  assert.equal((await called)?.code, 'ERR_IPC_CHANNEL_CLOSED');
  peer.resume();
  await next(peer, 'close');
});

test(
  'disconnect() while connecting waits for what has been sent, and for nothing more',
  options,
  async (t) => {
    const server = await serve(t);
    const arrived = next(server, 'connection').then((channel) => next(channel, 'message'));
    const client = open(t, server);
    const seen = record(client, EVENTS);
    const called = new Promise((resolve) => client.send('last words', resolve));
    client.disconnect();
    const late = await new Promise((resolve) => client.send('too late', resolve));
    assert.equal(/** @type {any} */ (late).code, 'ERR_IPC_CHANNEL_CLOSED');
    await next(client, 'close');
    assert.deepEqual(seen, ['connect', 'disconnect', 'close']);
    assert.equal(await called, null);
    assert.equal(await arrived, 'last words');
  },
);

test('disconnect() while connecting to nobody tells those who have sent', options, async (t) => {
  const client = open(t, path.join(path.dirname(pathFor(t)), 'nobody'));
  const called = new Promise((resolve) => client.send('never', resolve));
  client.on('error', () => {});
  client.disconnect();
  await next(client, 'close');
  assert.equal(/** @type {any} */ (await called).code, 'ERR_IPC_CHANNEL_CLOSED');
});

for (const how of ['disconnect', 'destroy']) {
  test(`${how}() while connecting, with nothing to send: only 'close'`, options, async (t) => {
    const server = await serve(t);
    const client = open(t, server);
    const seen = record(client, EVENTS);
    const called = how === 'destroy' ? new Promise((resolve) => client.send('never', resolve)) : undefined;
    client[how]();
    await next(client, 'close');
    assert.deepEqual(seen, ['close']);
    if (called) assert.equal(/** @type {any} */ (await called).code, 'ERR_IPC_CHANNEL_CLOSED');
  });

  test(`${how}() after the greeting but before its event ends the channel`, options, async (t) => {
    const file = pathFor(t);
    const come = `${file}.come`;
    const server = fork(path.join(__dirname, '../fixtures/net/server.js'), [file, come], { silent: true });
    t.after(() => server.kill('SIGKILL'));
    const [where] = await once(server, 'message');
    const client = open(t, where);
    const seen = record(client, EVENTS);
    // The channel is made on another thread while this one is busy.
    const greeted = new Promise((resolve) => server.once('message', resolve));
    const deadline = Date.now() + 60_000;
    blockUntil(() => fs.existsSync(come) || Date.now() > deadline);
    const heardHere = Date.now() + 100;
    blockUntil(() => Date.now() > heardHere);
    client[how]();
    await next(client, 'close');
    assert.deepEqual([client.connected, client.connecting], [false, false]);
    assert.ok(!seen.includes('message'));
    assert.equal(seen.at(-1), 'close');
    await greeted;
  });
}

test('what a peer says last and its end can be waited for one by one, however late this side comes to them', {
  ...options,
  skip: process.platform !== 'linux' && 'looks into /proc',
}, async (t) => {
  const server = start(t, 'last-words.js', [pathFor(t)]);
  const client = open(t, await server.line());
  await next(client, 'connect');
  client.send('go');
  blockUntil(() => isDead(server.pid));
  assert.equal(await next(client, 'message'), 'last words');
  assert.equal(client.connected, true);
  await next(client, 'disconnect');
});

test('send and disconnect on a closed channel fail as subprocess.send does', options, async (t) => {
  const child = fork(path.join(__dirname, '../fixtures/net/idle.js'));
  const { client } = await pair(t);
  const results = [];
  for (const channel of [child, client]) {
    const gone = next(channel, 'disconnect');
    channel.disconnect();
    await gone;
    const sent = await new Promise((resolve) =>
      channel.send('x', (/** @type {any} */ error) => resolve(error)),
    );
    const errors = [sent];
    for (const act of [() => channel.send('x'), () => channel.disconnect()]) {
      const failed = next(channel, 'error');
      assert.notEqual(act(), true);
      errors.push(await failed);
    }
    results.push(errors.map(({ code, message, name }) => ({ code, message, name })));
  }
  assert.deepEqual(results[1], results[0]);
  await until(() => child.exitCode !== null);
});

test('bad arguments of send throw as subprocess.send does', options, async (t) => {
  const child = fork(path.join(__dirname, '../fixtures/net/idle.js'));
  const { client } = await pair(t);
  const circular = /** @type {any} */ ({});
  circular.self = circular;
  const cases = [
    [],
    [undefined],
    [Symbol('x')],
    [() => {}],
    [1n],
    ['x', {}],
    ['x', 'handle'],
    ['x', true],
    ['x', new Date()],
    ['x', undefined, 5],
    ['x', undefined, null],
    ['x', undefined, []],
    ['x', undefined, 'options'],
    [circular],
  ];
  for (const args of cases) {
    const [expected, got] = [child, client].map((/** @type {any} */ channel) => {
      try {
        return `returned ${channel.send(...args)}`;
      } catch (error) {
        const { code, name, message } = /** @type {any} */ (error);
        return `${name} ${code} ${message}`;
      }
    });
    assert.equal(got, expected);
  }
  child.disconnect();
  await next(child, 'exit');
});

test('a for await loop gets every message and ends with the channel', options, async (t) => {
  const { client, peer } = await pair(t);
  const count = 3000;
  const sending = (async () => {
    for (let n = 0; n < count; n++) if (!client.send({ n })) await next(client, 'drain');
    client.disconnect();
  })();
  let expected = 0;
  for await (const { n } of peer) {
    assert.equal(n, expected++);
    if (n % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(expected, count);
  await sending;
});

test('a for await loop that is left and begun again misses nothing', options, async (t) => {
  const { client, peer } = await pair(t);
  const count = 3000;
  for (let n = 0; n < count; n++) client.send(n);
  client.disconnect();
  const got = [];
  while (got.length < count) {
    for await (const n of peer) {
      got.push(n);
      if (n % 500 === 250) await new Promise((resolve) => setImmediate(resolve));
      if (n % 7 === 0) break;
    }
  }
  assert.deepEqual(
    got,
    Array.from({ length: count }, (_, n) => n),
  );
});

test('a slow for await loop makes the writer wait', options, async (t) => {
  const { client, peer } = await pair(t);
  const text = 'x'.repeat(10_000);
  let sent = 1;
  client.send(text);
  let taken = 0;
  for await (const message of peer) {
    assert.equal(message.length, text.length);
    if (++taken === 1) {
      // This ends only if the loop, which rests here, is waited for.
      for (; client.send(text); sent++) await new Promise((resolve) => setImmediate(resolve));
      client.disconnect();
      sent++;
    }
  }
  assert.equal(taken, sent);
});

test('an error on the channel is thrown by its for await loop', options, async (t) => {
  const { client, peer } = await pair(t);
  client.send('one');
  const got = [];
  await assert.rejects(async () => {
    for await (const message of peer) {
      got.push(message);
      setImmediate(() => peer.emit('error', new Error('broken')));
    }
  }, /broken/);
  assert.deepEqual(got, ['one']);
});

test('broadcast reaches all channels and minds none that is closing', options, async (t) => {
  const server = await serve(t);
  server.on('clientError', (/** @type {any} */ error) => assert.fail(error));
  const clients = [];
  for (let n = 0; n < 5; n++) {
    const accepted = next(server, 'connection');
    clients.push(open(t, server));
    await accepted;
  }
  assert.equal(server.connections.size, 5);
  const got = clients.map((client) => messages(client, 1));
  assert.equal(server.broadcast({ to: 'all' }), true);
  for (const arrived of got) assert.deepEqual(await arrived, [{ to: 'all' }]);
  assert.throws(() => server.broadcast(), { code: 'ERR_MISSING_ARGS' });
  assert.throws(() => server.broadcast(1n), TypeError);
  const [first, second] = server.connections;
  first.disconnect();
  second.destroy();
  const rest = clients.slice(2).map((client) => messages(client, 1));
  server.broadcast('again');
  for (const arrived of rest) assert.deepEqual(await arrived, ['again']);
});

test('broadcast to a client that was killed just now does not end the server', options, async (t) => {
  const server = await serve(t);
  server.on('clientError', (/** @type {any} */ error) => assert.fail(error));
  const accepted = next(server, 'connection');
  const process_ = start(t, 'client.js', [server.address()]);
  const peer = await accepted;
  assert.equal((await process_.line()).event, 'connect');
  const closed = next(peer, 'close');
  process.kill(process_.pid, 'SIGKILL');
  // Its end is known to the kernel, and not to this thread yet.
  const { isDead } = require('../helpers/proc');
  while (!isDead(process_.pid));
  for (let n = 0; n < 10; n++) server.broadcast('hello');
  await closed;
});

test('getConnections, maxConnections and drop', options, async (t) => {
  const server = await serve(t, { maxConnections: 1 });
  assert.equal(server.maxConnections, 1);
  const first = open(t, server);
  await next(first, 'connect');
  const dropped = next(server, 'drop');
  const second = open(t, server);
  assert.equal((await next(second, 'error')).code, 'ERR_CORRAL_TOO_MANY_CONNECTIONS');
  const { peer, path: where, count: refused } = await dropped;
  assert.deepEqual([peer.pid, where, refused], [process.pid, server.address(), 1]);
  const count = () => new Promise((resolve) => server.getConnections((_, n) => resolve(n)));
  assert.equal(await count(), 1);
  server.maxConnections = 2;
  const third = open(t, server);
  await next(third, 'connect');
  await until(() => server.connections.size === 2);
  const gone = next(third, 'close');
  third.disconnect();
  await gone;
  await until(() => server.connections.size === 1);
  const fourth = open(t, server);
  await next(fourth, 'connect');
  assert.throws(
    () => {
      server.maxConnections = -1;
    },
    { code: 'ERR_OUT_OF_RANGE' },
  );
});

test('close() waits for the channels, and its callback comes with close', options, async (t) => {
  const { server, client } = await pair(t);
  const seen = /** @type {any[]} */ ([]);
  const closed = next(server, 'close').then(() => seen.push('close'));
  server.close((/** @type {any} */ error) => seen.push(error));
  assert.deepEqual([server.listening, server.address()], [false, null]);
  client.on('close', () => seen.push('channel'));
  client.send('still open', () => client.disconnect());
  await closed;
  await until(() => seen.length === 3);
  assert.deepEqual([...seen].sort(), ['channel', 'close', undefined].sort());
  const again = await new Promise((resolve) => server.close(resolve));
  assert.equal(/** @type {any} */ (again).code, 'ERR_SERVER_NOT_RUNNING');
});

test('a server that has closed can listen again, there and elsewhere', options, async (t) => {
  const server = net.createServer({ ipc: true });
  for (const where of [pathFor(t), pathFor(t)]) {
    for (let round = 0; round < 3; round++) {
      await new Promise((resolve) => server.listen(where, () => resolve(0)));
      assert.throws(() => server.listen(where), { code: 'ERR_SERVER_ALREADY_LISTEN' });
      await next(open(t, where), 'connect');
      for (const channel of server.connections) channel.disconnect();
      await new Promise((resolve) => server.close(resolve));
    }
  }
});

test('listen with an AbortSignal closes the server', options, async (t) => {
  const aborted = new AbortController();
  const server = net.createServer({ ipc: true });
  server.listen({ path: pathFor(t), signal: aborted.signal });
  await next(server, 'listening');
  aborted.abort();
  await next(server, 'close');
  server.listen({ path: pathFor(t), signal: AbortSignal.abort() });
  await next(server, 'close');
  assert.equal(server.listening, false);
});

test('a listen that threw for its signal has left nothing behind', options, async (t) => {
  const server = net.createServer({ ipc: true });
  let called = 0;
  assert.throws(() => server.listen({ path: pathFor(t), signal: 5 }, () => called++), {
    code: 'ERR_INVALID_ARG_TYPE',
  });
  await new Promise((resolve) => server.listen(pathFor(t), () => resolve(0)));
  assert.equal(called, 0);
  await new Promise((resolve) => server.close(resolve));
});

test('bad options and arguments have their codes', options, async () => {
  /** @type {[string, () => any][]} */
  const cases = [];
  const path = '/nowhere';
  for (const make of [net.createServer, net.connect]) {
    for (const [code, wrong] of /** @type {[string, any][]} */ ([
      ['ERR_INVALID_ARG_VALUE', { serialization: 'xml' }],
      ['ERR_INVALID_ARG_TYPE', { allow: true }],
      ['ERR_INVALID_ARG_TYPE', { maxMessageSize: '1' }],
      ['ERR_OUT_OF_RANGE', { maxMessageSize: 0 }],
      ['ERR_OUT_OF_RANGE', { maxQueuedBytes: 1.5 }],
      ['ERR_OUT_OF_RANGE', { handshakeTimeout: 2 ** 31 }],
    ])) {
      cases.push([code, () => make({ ipc: true, path, ...wrong })]);
    }
  }
  for (const [code, wrong] of /** @type {[string, any][]} */ ([
    ['ERR_MISSING_ARGS', {}],
    ['ERR_INVALID_ARG_VALUE', { port: 80 }],
    ['ERR_INVALID_ARG_TYPE', { path: 5 }],
    ['ERR_INVALID_ARG_VALUE', { path: '' }],
    ['ERR_INVALID_ARG_VALUE', { path: '/tmp/\0x' }],
    ['ERR_INVALID_ARG_TYPE', { path, reconnect: 5 }],
    ['ERR_INVALID_ARG_TYPE', { path, reconnect: { minDelay: '1' } }],
    ['ERR_OUT_OF_RANGE', { path, reconnect: { minDelay: -1 } }],
    ['ERR_OUT_OF_RANGE', { path, reconnect: { minDelay: 10, maxDelay: 5 } }],
    ['ERR_OUT_OF_RANGE', { path, reconnect: { jitter: 1.1 } }],
    ['ERR_OUT_OF_RANGE', { path, reconnect: { jitter: Number.NaN } }],
  ])) {
    cases.push([code, () => net.connect({ ipc: true, ...wrong })]);
  }
  const server = () => net.createServer({ ipc: true });
  cases.push(['ERR_MISSING_ARGS', () => server().listen()]);
  cases.push(['ERR_INVALID_ARG_VALUE', () => server().listen(80)]);
  cases.push(['ERR_INVALID_ARG_TYPE', () => server().listen({ path: 80 })]);
  cases.push(['ERR_INVALID_ARG_TYPE', () => server().listen(null)]);
  cases.push(['ERR_OUT_OF_RANGE', () => net.createServer({ ipc: true, maxConnections: -1 })]);
  for (const [code, act] of cases) assert.throws(act, { code }, act.toString());
  const listening = Object.freeze({ path: 5 });
  assert.throws(() => server().listen(listening), { code: 'ERR_INVALID_ARG_TYPE' });
});

for (const [role, lines] of Object.entries({
  'an unref’d server and channel': ['unref', 'ended'],
  'a server that is closed': ['close', 'ended'],
})) {
  test(`${role} does not keep a process alive`, options, async (t) => {
    const child = start(t, 'alive.js', [lines[0], pathFor(t)]);
    const { code, stderr } = await child.exited;
    assert.equal(code, 0, stderr);
  });
}

test('a server and a channel keep their process alive', options, async (t) => {
  const where = pathFor(t);
  const child = start(t, 'alive.js', ['ref', where]);
  await child.line();
  // It has nothing else to do; that it answers after its loop went idle is what shows that it stays.
  const client = open(t, where);
  await next(client, 'connect');
  client.send('end');
  assert.equal((await child.exited).code, 0);
});
