'use strict';

// Peers of a corral/net server that send without end.

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { next, until } = require('../helpers/events');
const { MOST_IN_A_TURN, watchTurns } = require('../helpers/floods');
const { raw, serve, start, GREETING } = require('../helpers/ipc');

const PEERS = 4;
/** So many long messages that it does not matter when others had no processor meanwhile. */
const MANY = 50;

test('timers, signals and immediates of a server have their turn while its peers send without end', async (t) => {
  const server = await serve(t);
  /** @type {any[]} */
  const channels = [];
  const all = new Promise((/** @type {(_: void) => void} */ resolve) => {
    server.on('connection', (/** @type {any} */ channel) => {
      if (channels.push(channel) === PEERS) resolve();
    });
  });
  for (let count = 0; count < PEERS; count++) start(t, 'flooder.js', [server.address()]);
  await all;
  const most = await watchTurns(channels);
  assert.ok(most <= MOST_IN_A_TURN, `${most} messages in one turn of the loop`);
});

test('a million messages of one byte from a peer take no more memory than others of their size here', async (t) => {
  const total = 1_000_000;
  const server = await serve(t);
  const connected = next(server, 'connection');
  const peer = await raw(t, server);
  peer.write(GREETING);
  const channel = await connected;
  const before = process.resourceUsage().maxRSS;
  let count = 0;
  const end = new Promise((/** @type {(_: void) => void} */ resolve) => {
    channel.on('message', () => {
      if (++count === total) resolve();
    });
  });
  peer.write('1\n'.repeat(total));
  await end;
  const grown = (process.resourceUsage().maxRSS - before) / 1024;
  assert.ok(grown < 128, `the server has grown by ${grown} MiB`);
});

test('a peer whose messages take long to parse does not keep others waiting', async (t) => {
  const server = await serve(t);
  let answers = 0;
  let messages = 0;
  const found = new Promise((/** @type {(_: number) => void} */ resolve) => {
    server.on('connection', (/** @type {any} */ channel) => {
      channel.respond(() => ++answers);
      channel.on('message', () => {
        // By the first it is known what they take; from then on others have the loop many times as long.
        if (++messages === 2) answers = 0;
        if (messages === 2 + MANY) resolve(answers / MANY);
      });
    });
  });
  start(t, 'asker.js', [server.address()]);
  await until(() => answers > 100);
  start(t, 'long-messages.js', [server.address()]);
  // Who asks is answered once in a turn of the loop, and would be while one is parsed and the next one is waiting: four times.
  const each = await found;
  assert.ok(each > 8, `${each} answers for each long message`);
});
