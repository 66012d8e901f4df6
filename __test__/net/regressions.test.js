'use strict';

// What went wrong once with channels of corral/net. Each test is named after it.

const assert = require('node:assert/strict');
const { execFile, execFileSync, spawn } = require('node:child_process');
const { once } = require('node:events');
const nodeNet = require('node:net');
const path = require('node:path');
const { test } = require('node:test');
const { promisify } = require('node:util');

const { next, until } = require('../helpers/events');
const { isStopped } = require('../helpers/proc');
const {
  GREETING,
  WATCHDOG_MS,
  messages,
  open,
  pair,
  pathFor,
  raw,
  record,
  serve,
} = require('../helpers/ipc');

const options = { timeout: WATCHDOG_MS };
const linuxOnly = { ...options, skip: process.platform !== 'linux' && 'for Linux' };
const FAST = { reconnect: { minDelay: 1, maxDelay: 20 } };
const NET = path.join(__dirname, '../../net.js');

/**
 * A program with a channel `c` to a path, in a process of its own.
 *
 * @param {import('node:test').TestContext} t
 * @param {string} where
 * @param {string} source
 */
function program(t, where, source) {
  const head = `const c = require(${JSON.stringify(NET)}).connect({ ipc: true, path: ${JSON.stringify(where)} });`;
  const child = spawn(process.execPath, ['-e', `${head}\n${source}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
  });
  return once(child, 'close').then(([code]) => ({ code, text }));
}

/** @param {any} socket a peer by hand; reads lines behind the greeting into what it returns */
function readLines(socket) {
  /** @type {number[]} */
  const lines = [];
  let rest = '';
  socket.on('data', (/** @type {string} */ chunk) => {
    const parts = (rest + chunk).split('\n');
    rest = /** @type {string} */ (parts.pop());
    lines.push(...parts.map((line) => JSON.parse(line).n));
  });
  return lines;
}

test('messages that the lost peer had read came again with the next connection', options, async (t) => {
  const where = pathFor(t);
  const count = 6000;
  const server = nodeNet.createServer({ pauseOnConnect: true }).listen(where);
  t.after(() => server.close());
  const greeted = async () => {
    const [socket] = await once(server, 'connection');
    socket.on('error', () => {});
    socket.setEncoding('utf8').resume();
    await once(socket, 'data');
    socket.pause().write(GREETING);
    return socket;
  };
  const source = `
    const c = require(${JSON.stringify(NET)}).connect({ ipc: true, path: ${JSON.stringify(where)}, reconnect: { minDelay: 1 } });
    c.once('connect', () => {
      for (let n = 0; n < ${count}; n++) c.send({ n, text: '\u20ac'.repeat(100) });
      console.log('sent');
    });`;
  const child = spawn(process.execPath, ['-e', source], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const first = await greeted();
  await once(child.stdout, 'data');
  // What is in the socket now is the beginning of something that was sent together: its writer does not go on.
  child.kill('SIGSTOP');
  await until(() => isStopped(/** @type {number} */ (child.pid)));
  const before = readLines(first);
  first.resume();
  let seen = -1;
  await until(() => {
    const isQuiet = before.length > 0 && before.length === seen;
    seen = before.length;
    return isQuiet;
  });
  first.destroy();
  child.kill('SIGCONT');
  const second = await greeted();
  const after = readLines(second);
  second.resume();
  await until(() => after.at(-1) === count - 1);
  const all = [...before, ...after];
  assert.ok(before.length > 0 && after.length > 0);
  assert.equal(new Set(all).size, all.length, 'some came twice');
});

test('a reply to a request of the lost connection answered one of the next', options, async (t) => {
  const server = await serve(t);
  const client = open(t, server, FAST);
  /** @type {Map<string, () => void>} */
  const gates = new Map();
  client.respond(async (/** @type {string} */ question) => {
    await new Promise((resolve) => gates.set(question, () => resolve(undefined)));
    return `answer to ${question}`;
  });
  const first = await next(server, 'connection');
  const lost = first.request('one').catch((/** @type {any} */ { code }) => code);
  await until(() => gates.has('one'));
  first.destroy();
  const second = await next(server, 'connection');
  const answer = second.request('two');
  await until(() => gates.has('two'));
  gates.get('one')?.();
  gates.get('two')?.();
  assert.equal(await answer, 'answer to two');
  assert.equal(await lost, 'ERR_CORRAL_NO_REPLY');
});

test('what was sent was lost when the process had nothing to do but to disconnect', options, async (t) => {
  const server = await serve(t);
  const arrived = next(server, 'connection').then((channel) => next(channel, 'message'));
  const source = `c.on('connect', () => { c.send('x'.repeat(8 << 20), (error) => console.log('told', error)); c.disconnect(); });`;
  const ended = program(t, server.address(), source);
  assert.equal((await arrived).length, 8 << 20);
  assert.deepEqual(await ended, { code: 0, text: 'told null\n' });
});

test('a process did not wait for an answer once something had to wait to be written', options, async (t) => {
  const server = await serve(t);
  server.on('connection', (/** @type {any} */ channel) =>
    channel.on('message', (/** @type {string} */ text) => channel.send(text.length)),
  );
  const source = `c.on('connect', () => c.send('x'.repeat(4 << 20))); c.on('message', (m) => { console.log(m); c.disconnect(); });`;
  assert.deepEqual(await program(t, server.address(), source), { code: 0, text: `${4 << 20}\n` });
});

test('of what was sent while the process exited only the first arrived', options, async (t) => {
  const server = await serve(t);
  const arrived = next(server, 'connection').then((channel) => messages(channel, 3));
  const source = `process.on('exit', () => { for (const n of [1, 2, 3]) c.send(n); }); c.on('connect', () => process.exit());`;
  await program(t, server.address(), source);
  assert.deepEqual(await arrived, [1, 2, 3]);
});

test('a loop over messages that asked the same peer waited for ever', options, async (t) => {
  const { client, peer } = await pair(t);
  peer.respond((/** @type {number} */ n) => n + 1);
  for (let n = 0; n < 300; n++) peer.send(n);
  let count = 0;
  for await (const n of client) {
    assert.equal(await client.request(n), count + 1);
    if (++count === 300) break;
  }
});

test('a loop that fell behind and caught up ended the pause of the program', options, async (t) => {
  const { client, peer } = await pair(t);
  for (let n = 0; n < 200; n++) peer.send(n);
  for await (const n of client) {
    if (n === 0) await until(() => client.listenerCount('message') === 1);
    if (n === 10) client.pause();
    if (n === 60) break;
  }
  assert.equal(client.isPaused(), true);
});

test('what nobody listened to was bounded in number and not in bytes', options, async (t) => {
  const { client, peer } = await pair(t, {}, { maxQueuedBytes: 400 << 20 });
  const count = 25;
  let written = 0;
  const text = 'x'.repeat(8 << 20);
  for (let n = 0; n < count; n++) client.send(text, () => written++);
  // The peer has its chance: another channel's messages go back and forth.
  const other = await pair(t);
  other.peer.respond(() => {});
  await until(() => written > 3);
  for (let n = 0; n < 200; n++) await other.client.request('ping');
  assert.ok(written < count, `${written} were taken`);
  for (const got of await messages(peer, count)) assert.equal(got.length, text.length);
});

test('every client that was refused made a warning', options, async (t) => {
  const server = await serve(t);
  /** @type {any[]} */
  const warnings = [];
  const onWarning = (/** @type {any} */ warning) => warnings.push(warning.code);
  process.on('warning', onWarning);
  t.after(() => process.removeListener('warning', onWarning));
  for (let n = 0; n < 5; n++) {
    const socket = await raw(t, server);
    socket.end('nonsense\n').resume();
    await next(socket, 'close');
  }
  await until(() => warnings.length > 0);
  await open(t, server)
    .request('anything')
    .catch(() => {});
  assert.deepEqual(warnings, ['ERR_CORRAL_BAD_HANDSHAKE']);
});

test("'close' came twice after a second disconnect() while waiting to connect again", options, async (t) => {
  const client = open(t, pathFor(t), { reconnect: { minDelay: 100_000, maxDelay: 100_000 } });
  const seen = record(client, ['close']);
  client.on('error', () => {});
  await next(client, 'reconnecting');
  client.disconnect();
  client.disconnect();
  client.destroy();
  await next(client, 'close');
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  assert.deepEqual(seen, ['close']);
});

test("'drain' came before 'connect'", options, async (t) => {
  const server = await serve(t);
  const client = open(t, server);
  const seen = record(client, ['connect', 'drain']);
  server.on('connection', (/** @type {any} */ channel) => channel.on('message', () => {}));
  while (client.send('x'.repeat(1000)));
  await next(client, 'drain');
  assert.deepEqual(seen, ['connect', 'drain']);
});

test('a server whose channel lost its listeners never closed', options, async (t) => {
  const { server, client, peer } = await pair(t);
  peer.removeAllListeners();
  server.close();
  client.disconnect();
  await next(server, 'close');
  assert.equal(server.connections.size, 0);
});

test('a destroyed channel went on sending', options, async (t) => {
  const { client, peer } = await pair(t);
  const got = record(peer, ['message']);
  client.destroy();
  assert.equal(client.connected, false);
  const error = await new Promise((resolve) => assert.equal(client.send('late', resolve), false));
  assert.equal(/** @type {any} */ (error).code, 'ERR_IPC_CHANNEL_CLOSED');
  await next(peer, 'close');
  assert.deepEqual(got, []);
});

for (const how of ['destroy', 'disconnect']) {
  for (const reconnect of [false, FAST.reconnect]) {
    const kind = reconnect ? 'a client that connects again' : 'a client';
    test(
      `${kind} heard of an error of the connection that it had given up, by ${how}()`,
      options,
      async (t) => {
        const where = pathFor(t);
        for (let round = 0; round < 5; round++) {
          const client = open(t, where, { reconnect });
          const seen = record(client, ['error', 'disconnect', 'close']);
          // So long that the attempt has failed by now, of which this process has not heard.
          execFileSync('/bin/sh', ['-c', ':']);
          client[how]();
          await next(client, 'close');
          assert.deepEqual(seen, ['close']);
        }
      },
    );
  }
}

test("a process ended before its channel's 'close', with nothing else to wait for", options, async (t) => {
  const server = await serve(t);
  for (let round = 0; round < 5; round++) {
    const source = "c.on('connect', () => { c.disconnect(); c.on('close', () => console.log('closed')); });";
    const { code, text } = await program(t, server.address(), source);
    assert.deepEqual([code, text], [0, 'closed\n']);
  }
});

for (const kind of ['cluster', 'net alone']) {
  test(
    `each copy of the module that was loaded again had a thread of its own: ${kind}`,
    linuxOnly,
    async (t) => {
      const file = path.join(__dirname, '../fixtures/net/reloaded.js');
      const { stdout } = await promisify(execFile)(process.execPath, [file, pathFor(t), kind], options);
      // In the primary and in its worker.
      const processes = stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      assert.equal(processes.length, kind === 'cluster' ? 2 : 1);
      for (const [first, ...others] of processes) {
        assert.ok(first[0] >= 1, stdout);
        for (const other of others) assert.deepEqual(other, first, stdout);
      }
    },
  );
}

test('what a copy that was loaded later sent when its process ended did not arrive', options, async (t) => {
  const where = pathFor(t);
  const server = await serve(t, {}, { path: where });
  const heard = new Promise((resolve) => {
    server.on('connection', async (/** @type {any} */ channel) => resolve(await messages(channel, 2)));
  });
  const ended = program(
    t,
    where,
    `for (const file of Object.keys(require.cache)) delete require.cache[file];
    const late = require(${JSON.stringify(NET)}).connect({ ipc: true, path: ${JSON.stringify(where)} });
    late.once('connect', () => {
      c.destroy();
      // Behind the core's own listener; the second would wait for others of its turn.
      process.on('exit', () => ['last', 'words'].forEach((word) => late.send(word)));
      process.exit();
    });`,
  );
  assert.deepEqual(await heard, ['last', 'words']);
  await ended;
});

test(
  'a program that looked at asynchronous resources saw the end of one whose beginning it had not seen',
  options,
  async () => {
    const source = `
    const begun = [];
    const hook = require('node:async_hooks').createHook({ init: (id, type) => begun.push(type) }).enable();
    for (const entry of ['net', 'node-ipc', 'bus']) require(require('node:path').join(process.argv[1], entry + '.js'));
    hook.disable();
    console.log(JSON.stringify(begun));`;
    const { stdout } = await promisify(execFile)(process.execPath, ['-e', source, path.dirname(NET)]);
    assert.deepEqual(JSON.parse(stdout), []);
  },
);
