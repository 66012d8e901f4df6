'use strict';

// Channels of corral/net whose other end has just gone, before anybody was told.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const path = require('node:path');
const { test } = require('node:test');
const timers = require('node:timers/promises');
const net = require('corral/net');
const { scratchDirectory } = require('../helpers/example.js');

const CLIENTS = 20;

/** @param {import('node:test').TestContext} t */
async function listen(t) {
  const server = net.createServer({ ipc: true });
  server.listen(path.join(scratchDirectory(t), 'socket'));
  await once(server, 'listening');
  t.after(() => server.close());
  return server;
}

/** @param {net.ChannelServer} server */
async function connectTo(server) {
  const client = net.connect({ ipc: true, path: /** @type {string} */ (server.address()) });
  const [channel] = await once(server, 'connection');
  return { client, channel };
}

/**
 * Ends a channel from its other side, so that this one's core knows and its JavaScript does not.
 *
 * @param {net.Channel} client
 */
function leave(client) {
  client.destroy();
  // What the other threads do meanwhile.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
}

test('a request on a channel that has just ended failed with EPIPE, and before its end was told', async (t) => {
  const server = await listen(t);
  for (let i = 0; i < CLIENTS; i++) {
    const { client, channel } = await connectTo(server);
    leave(client);
    // The second of a turn is written at the end of it.
    const requests = ['first', 'second'].map((message) =>
      channel.request(message).catch(({ code }) => ({ code, connected: channel.connected })),
    );
    const rejection = { code: 'ERR_CORRAL_NO_REPLY', connected: false };
    assert.deepEqual(await Promise.all(requests), [rejection, rejection]);
  }
});

test('a server that broadcast to a client that had just gone died of EPIPE', async (t) => {
  const server = await listen(t);
  /** @type {string[]} */
  const errors = [];
  const pairs = [];
  for (let i = 0; i < CLIENTS; i++) {
    const pair = await connectTo(server);
    pair.channel.on('error', ({ code }) => errors.push(code));
    pairs.push(pair);
  }
  // One after the other, with broadcasts until its end is told.
  for (const { client, channel } of pairs) {
    const isClosed = once(channel, 'close').then(() => true);
    leave(client);
    do server.broadcast('to whom it may concern');
    while (!(await Promise.race([isClosed, timers.setImmediate(false)])));
  }
  assert.deepEqual(errors, []);
});
