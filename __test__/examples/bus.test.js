'use strict';

// Runs the examples of corral/bus and checks what their header comments promise.

const assert = require('node:assert/strict');
const path = require('node:path');
const { test } = require('node:test');
const { pathToFileURL } = require('node:url');
const { Example, scratchDirectory } = require('../helpers/example.js');
const { RedisServer } = require('../helpers/redis');

const ENDED = { code: 0, signal: null };

test('bus/hello: what one process sends, another one receives when the first has ended', async (t) => {
  const env = { BUS: pathToFileURL(path.join(scratchDirectory(t), 'hello.db')).href };
  const run = async (/** @type {string[]} */ args, /** @type {RegExp} */ line) => {
    const example = new Example(t, 'bus/hello.js', env, { args });
    await example.line(line);
    assert.deepEqual(await example.exit, ENDED);
  };
  await run(['send', 'Hello World'], /^sent \S+$/);
  await run(['receive'], /^received Hello World$/);
});

test('bus/workers: all workers hear what one of them is told', async (t) => {
  const example = new Example(t, 'bus/workers.js');
  const [, url] = await example.line(/^(http:\/\/localhost:\d+\/)$/);
  const set = await fetch(`${url.replace('localhost', '127.0.0.1')}set?colour=red`);
  assert.equal(await set.text(), '2 workers were told\n');
  await example.line(/^worker \d: red$/);
  await example.line(/^worker \d: red$/);
  example.pressCtrlC();
  await example.exit;
  assert.deepEqual(example.processes(), []);
});

test('bus/orders: an order is an invoice, or a dead letter after three tries', async (t) => {
  const example = new Example(t, 'bus/orders.js');
  await example.line(/^pears, try 3: nothing to ship$/);
  await example.line(/^invoice: apples, 15$/);
  await example.line(/^dead: pears, 3 tries, Error: nothing to ship$/);
  assert.deepEqual(await example.exit, ENDED);
});

test('bus/rsmq: a message is sent and received, in a file and in Redis', async (t) => {
  const server = await new RedisServer().start();
  t.after(() => server.remove());
  for (const env of [{ TMPDIR: scratchDirectory(t) }, { REDIS: server.socket }]) {
    const example = new Example(t, 'bus/rsmq.js', env);
    await example.line(/^Message sent. ID: [a-zA-Z0-9]{32}$/);
    await example.line(/^Message received: Hello World$/);
    assert.deepEqual(await example.exit, ENDED);
  }
});

test('bus/list: another program pops what this one has pushed, and the other way round', async (t) => {
  const server = await new RedisServer().start();
  t.after(() => server.remove());
  const example = new Example(t, 'bus/list.js', { REDIS: server.socket });
  await example.line(/^the other program has got \{"to":"ours"\}$/);
  await example.line(/^this one has got \{"to":"theirs"\}$/);
  assert.deepEqual(await example.exit, ENDED);
});

test('bus/offline: what is sent while the engine is away is kept when it is back, and refused beyond the bound', async (t) => {
  const server = await new RedisServer({ appendonly: 'yes' }).start();
  t.after(() => server.remove());
  const example = new Example(t, 'bus/offline.js', { BUS: server.url });
  await example.line(/^kept 0$/);
  await server.stop();
  await example.line(/^down: /);
  const [, refused] = await example.line(/^refused (\d+): ERR_CORRAL_BUS_OFFLINE$/);
  await server.start();
  await example.line(/^up$/);
  await example.line(new RegExp(`^kept ${Number(refused) - 1}$`));
  example.pressCtrlC();
  assert.deepEqual(await example.exit, ENDED);
});
