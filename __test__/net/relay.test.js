'use strict';

// A process between two others that sends handles on.

const assert = require('node:assert/strict');
const builtin = require('node:net');
const { test } = require('node:test');

const { next, until } = require('../helpers/events');
const { waitsForEvents } = require('../helpers/proc');
const { WATCHDOG_MS, serve, start } = require('../helpers/ipc');

/** How many descriptors the process between may have; some thirty are its own. */
const FILES = 120;
const HANDLES = 300;
/** As many are sent on before anybody takes one. */
const AHEAD = 16;

/**
 * @param {any} t
 * @returns {Promise<{ source: any, sink: any, relay: any }>} what is sent to the source comes to the sink
 */
async function between(t) {
  const [front, back] = [await serve(t), await serve(t)];
  const accepted = [next(front, 'connection'), next(back, 'connection')];
  const relay = start(t, 'relay.js', [front.address(), back.address()], { files: FILES });
  const [source, sink] = await Promise.all(accepted);
  return { source, sink, relay };
}

/** @param {any} t @param {(socket: any) => void} onSocket gets one accepted connection after the other */
async function connections(t, onSocket) {
  const server = builtin.createServer(onSocket).listen(0, '127.0.0.1');
  await next(server, 'listening');
  t.after(() => server.close());
  const { port } = /** @type {any} */ (server.address());
  const clients = Array.from({ length: HANDLES }, () => builtin.connect(port, '127.0.0.1'));
  t.after(() => {
    for (const client of clients) client.destroy();
  });
}

/** @param {number} pid until it has done what it can do @param {() => boolean} isMeant and this is so */
async function untilAtRest(pid, isMeant) {
  let looks = 0;
  await until(() => {
    looks = isMeant() && waitsForEvents(pid) ? looks + 1 : 0;
    return looks === 50;
  });
}

const options = { timeout: WATCHDOG_MS, skip: process.platform !== 'linux' && 'for Linux' };

test(
  'handles that came faster than the next process took them filled the one between',
  options,
  async (t) => {
    const { source, sink, relay } = await between(t);
    sink.pause();
    let sent = 0;
    await connections(t, (socket) => source.send({ n: sent++ }, socket));
    await untilAtRest(relay.pid, () => sent === HANDLES);
    const all = new Promise((resolve) => {
      /** @type {any[]} */
      const got = [];
      sink.on('message', (/** @type {any} */ { n }, /** @type {any} */ handle) => {
        handle?.destroy();
        if (got.push([n, handle instanceof builtin.Socket]) === HANDLES) resolve(got);
      });
    });
    sink.resume();
    assert.deepEqual(
      await all,
      Array.from({ length: HANDLES }, (_, n) => [n, true]),
    );
    const lines = [];
    while (lines.length < HANDLES) lines.push(await relay.line());
    const most = Math.max(...lines.map(({ files }) => files));
    // To look takes one more.
    assert.ok(most < FILES - 1, `${most}`);
  },
);

test(
  'handles that were under way to a process that ends keep those behind them from nobody',
  options,
  async (t) => {
    const { source, sink, relay } = await between(t);
    sink.pause();
    let sent = 0;
    await connections(t, (socket) => source.send({ n: sent++ }, socket));
    for (let n = 0; n < AHEAD; n++) await relay.line();
    sink.destroy();
    for (let n = AHEAD; n < HANDLES; n++) assert.equal((await relay.line()).message.n, n);
  },
);
