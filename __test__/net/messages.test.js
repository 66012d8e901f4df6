'use strict';

// Messages on a channel: their order, what they may be, and how many of them may wait.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { test } = require('node:test');

const { next, until } = require('../helpers/events');
const { WATCHDOG_MS, messages, open, pair, serve } = require('../helpers/ipc');

const options = { timeout: WATCHDOG_MS };
/** So many wait without a listener before the peer has to wait. */
const MAX_UNHEARD = 1024;

for (const serialization of ['json', 'advanced']) {
  test(`messages keep their order in both directions (${serialization})`, options, async (t) => {
    const { client, peer } = await pair(t, { serialization });
    const count = 5000;
    const sent = Array.from({ length: count }, (_, n) => ({ n, text: 'x'.repeat(n % 300) }));
    const arrived = [messages(client, count), messages(peer, count)];
    for (const message of sent) {
      client.send(message);
      peer.send(message);
    }
    for (const got of await Promise.all(arrived)) assert.deepEqual(got, sent);
  });

  test(`a message of 20 MB among small ones (${serialization})`, options, async (t) => {
    const { client, peer } = await pair(t, { serialization });
    const big = 'é'.repeat(10_000_000);
    const arrived = messages(peer, 3);
    for (const message of ['before', big, 'behind']) client.send(message);
    assert.deepEqual(
      (await arrived).map((text) => text.length),
      [6, big.length, 6],
    );
  });
}

test('json carries what JSON does', options, async (t) => {
  const { client, peer } = await pair(t);
  const sent = ['', 'line\nfeed\r\0\u2028', 0, -1.5, true, false, null, [], {}, [null], { a: { b: [1] } }];
  const arrived = messages(peer, sent.length + 1);
  for (const message of sent) client.send(message);
  client.send({ date: new Date(0), none: undefined, map: new Map([[1, 2]]), bytes: Buffer.from('a') });
  const got = await arrived;
  assert.deepEqual(got.slice(0, -1), sent);
  assert.deepEqual(got.at(-1), {
    date: '1970-01-01T00:00:00.000Z',
    map: {},
    bytes: { type: 'Buffer', data: [97] },
  });
});

test('advanced carries what structured cloning does', options, async (t) => {
  const { client, peer } = await pair(t, { serialization: 'advanced' });
  const cycle = /** @type {any} */ ({});
  cycle.self = cycle;
  const sent = [
    { bytes: Buffer.from([1, 2, 255]), none: undefined, floats: new Float64Array([1.5]) },
    new Map([[{ key: 1 }, new Set(['a'])]]),
    { date: new Date(5), pattern: /x/g, big: 2n ** 70n, nan: Number.NaN },
    cycle,
  ];
  const arrived = messages(peer, sent.length);
  for (const message of sent) client.send(message);
  assert.deepEqual(await arrived, sent);
});

test('what cannot be serialized throws, and the channel goes on', options, async (t) => {
  const json = await pair(t);
  const cycle = /** @type {any} */ ({});
  cycle.self = cycle;
  assert.throws(() => json.client.send(cycle), TypeError);
  assert.throws(() => json.client.send({ big: 1n }), TypeError);
  assert.throws(() => json.client.send({ toJSON: () => undefined }), { code: 'ERR_INVALID_ARG_TYPE' });
  const advanced = await pair(t, { serialization: 'advanced' });
  assert.throws(() => advanced.client.send({ call: () => {} }), /could not be cloned/);
  for (const { client, peer } of [json, advanced]) {
    client.send('still here');
    assert.deepEqual(await messages(peer, 1), ['still here']);
  }
});

test('what is unserializable throws at once before the channel is connected, too', options, async (t) => {
  const server = await serve(t);
  const client = open(t, server);
  assert.throws(() => client.send({ big: 1n }), TypeError);
  await next(client, 'connect');
});

test('messages that are sent before the channel is connected arrive first', options, async (t) => {
  const server = await serve(t);
  const client = open(t, server);
  const got = next(server, 'connection').then((peer) => messages(peer, 3));
  const message = { value: 1 };
  client.send(message, (/** @type {any} */ error) => assert.equal(error, null));
  message.value = 2;
  client.send('two');
  await next(client, 'connect');
  client.send('three');
  // As it was when it was sent.
  assert.deepEqual(await got, [{ value: 1 }, 'two', 'three']);
});

test("messages wait for a 'message' listener", options, async (t) => {
  const { client, peer } = await pair(t);
  await new Promise((resolve) => client.send('a', resolve));
  client.send('b');
  // Both have arrived when what was sent behind them has been answered.
  peer.respond(() => {});
  await client.request('are they there?');
  assert.deepEqual(await messages(peer, 2), ['a', 'b']);
});

test('of messages that wait, one listener for one message takes one', options, async (t) => {
  const { client, peer } = await pair(t);
  peer.respond(() => {});
  for (let n = 0; n < 5; n++) client.send(n);
  await client.request('are they there?');
  for (let n = 0; n < 5; n++) assert.deepEqual(await once(peer, 'message'), [n, undefined]);
});

test('a message that comes while others wait does not overtake them', options, async (t) => {
  const { client, peer } = await pair(t);
  /** @type {any[]} */
  const got = [];
  // The listener comes in between two messages of one batch.
  peer.respond(() => {
    peer.on('message', (/** @type {any} */ message) => got.push(message));
  });
  client.send(1);
  client.request('listen').catch(() => {});
  for (let n = 2; n < 50; n++) client.send(n);
  await until(() => got.length === 49);
  assert.deepEqual(
    got,
    Array.from({ length: 49 }, (_, n) => n + 1),
  );
});

test('a peer that nobody listens to has to wait, and nothing is lost', options, async (t) => {
  const { client, peer } = await pair(t, {}, { maxQueuedBytes: 64 << 20 });
  const count = MAX_UNHEARD + 40_000;
  const text = 'x'.repeat(1000);
  for (let n = 0; n < count; n++) client.send({ n, text });
  // The kernel's buffer and what the reading side has taken before it stopped are full by now.
  await until(() => client.listenerCount('drain') === 0);
  assert.equal(client.send({ n: count, text }), false);
  const got = await messages(peer, count + 1);
  for (const [index, { n }] of got.entries()) if (n !== index) assert.fail(`${n} in place of ${index}`);
});

for (const how of ['resume', 'pause and resume']) {
  test(`${how} does not lift the bound of messages that nobody listens to`, options, async (t) => {
    const { client, peer } = await pair(t, {}, { maxQueuedBytes: 400 << 20 });
    const text = 'x'.repeat(16_000);
    let written = 0;
    for (let n = 0; n < MAX_UNHEARD * 2; n++) client.send(text, () => written++);
    await until(() => written > MAX_UNHEARD);
    if (how !== 'resume') peer.pause();
    peer.resume();
    const total = 10_000;
    for (let n = 0; n < total; n++) client.send(text, () => written++);
    // What the peer still takes by and by is far less than all: a second channel tells when it has had its chance.
    const other = await pair(t);
    other.peer.respond(() => {});
    for (let n = 0; n < 200; n++) await other.client.request('ping');
    assert.ok(written < total, `${written} have been written`);
    assert.equal((await messages(peer, total)).length, total);
  });
}

test(
  "send answers false when the peer is behind, and 'drain' comes when nothing waits",
  options,
  async (t) => {
    const { client, peer } = await pair(t);
    peer.pause();
    let count = 0;
    for (; client.send('x'.repeat(10_000)); count++);
    let drained = false;
    client.on('drain', () => {
      drained = true;
    });
    assert.equal(drained, false);
    const arrived = messages(peer, count + 1);
    peer.resume();
    await arrived;
    await until(() => drained);
    assert.equal(client.send('more'), true);
  },
);

test("callbacks come in order, with null, and before 'drain'", options, async (t) => {
  const { client, peer } = await pair(t);
  peer.pause();
  peer.on('message', () => {});
  /** @type {any[]} */
  const seen = [];
  const drained = new Promise((resolve) => client.once('drain', resolve)).then(() => seen.push('drain'));
  for (let n = 0; n < 300; n++) {
    client.send('x'.repeat(5000), (/** @type {any} */ error) => seen.push(error === null ? n : error));
  }
  peer.resume();
  await drained;
  assert.deepEqual(seen, [...Array.from({ length: 300 }, (_, n) => n), 'drain']);
});

test('messages of one batch are paused between, too', options, async (t) => {
  const { client, peer } = await pair(t);
  /** @type {number[]} */
  const got = [];
  const first = new Promise((resolve) => {
    peer.on('message', (/** @type {number} */ n) => {
      got.push(n);
      if (n === 2) resolve(peer.pause());
    });
  });
  for (let n = 0; n < 10; n++) client.send(n);
  await first;
  // A turn for everything that was on its way.
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  assert.deepEqual(got, [0, 1, 2]);
  assert.equal(peer.isPaused(), true);
  peer.resume();
  await until(() => got.length === 10);
  assert.deepEqual(
    got,
    Array.from({ length: 10 }, (_, n) => n),
  );
});

test('a paused channel does not see the end before the messages in front of it', options, async (t) => {
  const { client, peer } = await pair(t);
  /** @type {any[]} */
  const seen = [];
  peer.pause();
  peer.on('message', (/** @type {any} */ message) => seen.push(message));
  peer.on('disconnect', () => seen.push('disconnect'));
  const gone = next(client, 'close');
  for (let n = 0; n < 100; n++) client.send(n);
  client.disconnect();
  const other = await pair(t);
  other.peer.respond(() => {});
  for (let n = 0; n < 20; n++) await other.client.request('ping');
  assert.deepEqual(seen, []);
  peer.resume();
  await next(peer, 'close');
  assert.deepEqual(seen, [...Array.from({ length: 100 }, (_, n) => n), 'disconnect']);
  await gone;
});

test(
  'a request does not wait for a listener of the message in front of it, paused or not',
  options,
  async (t) => {
    const { client, peer } = await pair(t);
    peer.respond(() => 'done');
    peer.pause();
    client.send('nobody listens to this');
    const reply = client.request('but to this');
    await new Promise((resolve) => client.send('last', resolve));
    peer.resume();
    assert.equal(await reply, 'done');
  },
);
