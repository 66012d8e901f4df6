'use strict';

// Threads and processes around channels, and how they end.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const { test } = require('node:test');

const { next } = require('../helpers/events');
const { WATCHDOG_MS, messages, pathFor, serve, start } = require('../helpers/ipc');

const options = { timeout: WATCHDOG_MS };

for (const [how, expected] of /** @type {[string, number][]} */ ([
  ['end', 0],
  ['exit', 7],
])) {
  test(`worker threads have servers and channels of their own (${how})`, options, async (t) => {
    const where = pathFor(t);
    const { code, signal, stderr } = await start(t, 'threads.js', [where, how]).exited;
    assert.deepEqual({ code, signal }, { code: expected, signal: null }, stderr);
    assert.equal(fs.existsSync(where), false, 'the file is left');
  });
}

test('two copies of the module in one process', options, async (t) => {
  const { code, stderr } = await start(t, 'copies.js', [pathFor(t)]).exited;
  assert.equal(code, 0, stderr);
});

test('process.exit in the midst of everything', options, async (t) => {
  const where = pathFor(t);
  for (const after of [1, 7, 100, 800]) {
    const { code, signal, stderr } = await start(t, 'midst.js', [where, `${after}`]).exited;
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, stderr);
    assert.equal(fs.existsSync(where), false);
  }
});

test('messages between processes, and the end of one is seen by the other', options, async (t) => {
  const server = await serve(t);
  const accepted = next(server, 'connection');
  const child = start(t, 'client.js', [server.address()]);
  const peer = await accepted;
  await child.line();
  child.tell({ send: { some: 'thing' } });
  assert.deepEqual(await messages(peer, 1), [{ some: 'thing' }]);
  assert.deepEqual(await child.line(), { event: 'sent' });
  peer.send(['back']);
  assert.deepEqual(await child.line(), { event: 'message', message: ['back'] });
  peer.disconnect();
  assert.deepEqual(await child.line(), { event: 'disconnect' });
  assert.deepEqual(await child.line(), { event: 'close' });
  assert.equal((await child.exited).code, 0);
});

test('a process that ends at once has sent what it had been called back for', options, async (t) => {
  const server = await serve(t);
  const accepted = next(server, 'connection');
  const child = start(t, 'client.js', [server.address()]);
  const peer = await accepted;
  await child.line();
  const got = messages(peer, 1);
  const closed = next(peer, 'close');
  child.tell({ send: 'x'.repeat(100) });
  assert.deepEqual(await child.line(), { event: 'sent' });
  child.kill();
  assert.equal((await got)[0].length, 100);
  await closed;
});
