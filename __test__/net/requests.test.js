'use strict';

// Requests and replies.

const assert = require('node:assert/strict');
const { constants } = require('node:os');
const { test } = require('node:test');
const { setImmediate } = require('node:timers/promises');

const { Requests } = require('../../lib/channel/requests');
const { WriteQueue } = require('../../lib/channel/write-queue');
const { REQUEST } = require('../../lib/protocol');
const { next, until } = require('../helpers/events');
const { WATCHDOG_MS, messages, open, pair, pathFor, serve, shut, net } = require('../helpers/ipc');

const options = { timeout: WATCHDOG_MS };

for (const serialization of ['json', 'advanced']) {
  test(`a thousand requests at once, answered in another order (${serialization})`, options, async (t) => {
    const { client, peer } = await pair(t, { serialization });
    /** @type {(() => void)[]} */
    const answers = [];
    peer.respond((/** @type {number} */ n) => new Promise((resolve) => answers.push(() => resolve({ n }))));
    const replies = Array.from({ length: 1000 }, (_, n) => client.request(n));
    await until(() => answers.length === 1000);
    for (const answer of answers.reverse()) answer();
    assert.deepEqual(
      await Promise.all(replies),
      replies.map((_, n) => ({ n })),
    );
  });
}

test('both ends ask each other, and this is the channel', options, async (t) => {
  const { client, peer } = await pair(t);
  assert.equal(
    client.respond(function respond(/** @type {any} */ question) {
      // @ts-expect-error this
      return [question, this === client];
    }),
    client,
  );
  peer.respond(async (/** @type {any} */ question) => peer.request({ nested: question }));
  assert.deepEqual(await client.request('a'), [{ nested: 'a' }, true]);
});

test('requests keep their place among messages', options, async (t) => {
  const { client, peer } = await pair(t);
  /** @type {any[]} */
  const seen = [];
  peer.on('message', (/** @type {any} */ message) => seen.push(message));
  peer.respond((/** @type {any} */ message) => void seen.push(message));
  const replies = [];
  for (let n = 0; n < 100; n++) {
    if (n % 3 === 0) replies.push(client.request(n));
    else client.send(n);
  }
  await Promise.all(replies);
  assert.deepEqual(
    seen,
    Array.from({ length: 100 }, (_, n) => n),
  );
});

test('a reply may be nothing, null or false', options, async (t) => {
  const { client, peer } = await pair(t);
  for (const reply of [undefined, null, false, 0, '']) {
    peer.respond(() => reply);
    assert.equal(await client.request('x'), reply);
  }
});

test('errors are carried over with name, message and code, and no stack', options, async (t) => {
  const { client, peer } = await pair(t);
  peer.respond(() => {
    throw Object.assign(new RangeError('too far'), { code: 'E_FAR', secret: 1 });
  });
  const error = await client.request('x').catch((/** @type {any} */ reason) => reason);
  assert.deepEqual(
    [error instanceof Error, error.name, error.message, error.code, error.secret],
    [true, 'RangeError', 'too far', 'E_FAR', undefined],
  );
  for (const [thrown, message] of /** @type {[any, string][]} */ ([
    ['text', 'text'],
    [undefined, 'undefined'],
    [null, 'null'],
    [{ a: 1 }, '[object Object]'],
  ])) {
    peer.respond(() => Promise.reject(thrown));
    await assert.rejects(client.request('x'), { message });
  }
});

test('without a handler the asker is told, and again after it was taken away', options, async (t) => {
  const { client, peer } = await pair(t);
  await assert.rejects(client.request('x'), { code: 'ERR_CORRAL_NO_HANDLER' });
  peer.respond(() => 1);
  assert.equal(await client.request('x'), 1);
  peer.respond(undefined);
  await assert.rejects(client.request('x'), { code: 'ERR_CORRAL_NO_HANDLER' });
});

test('a timeout and a late reply', options, async (t) => {
  const { client, peer } = await pair(t);
  let answer = () => {};
  peer.respond(() => new Promise((resolve) => (answer = () => resolve('late'))));
  await assert.rejects(client.request('x', { timeout: 5 }), { code: 'ERR_CORRAL_REQUEST_TIMEOUT' });
  await until(() => answer.length === 0 && answer.toString().includes('late'));
  answer();
  peer.respond(() => 'in time');
  assert.equal(await client.request('y', { timeout: 2 ** 31 - 1 }), 'in time');
});

test('arguments of request are checked', options, async (t) => {
  const { client } = await pair(t);
  /** @type {[string, any[]][]} */
  const cases = [
    ['ERR_MISSING_ARGS', []],
    ['ERR_INVALID_ARG_TYPE', ['x', { timeout: '5' }]],
    ['ERR_OUT_OF_RANGE', ['x', { timeout: -1 }]],
    ['ERR_OUT_OF_RANGE', ['x', { timeout: Number.NaN }]],
    ['ERR_OUT_OF_RANGE', ['x', { timeout: Number.POSITIVE_INFINITY }]],
    ['ERR_OUT_OF_RANGE', ['x', { timeout: 2 ** 31 }]],
    ['ERR_INVALID_ARG_TYPE', ['x', { signal: {} }]],
  ];
  for (const [code, args] of cases) {
    assert.throws(() => client.request(...args).catch(() => {}), { code }, JSON.stringify(args));
  }
});

test('an AbortSignal gives up a request, before and after it was sent', options, async (t) => {
  const { client, peer } = await pair(t);
  peer.respond(() => new Promise(() => {}));
  const controller = new AbortController();
  const reply = client.request('x', { signal: controller.signal });
  controller.abort(new Error('enough'));
  const error = await reply.catch((/** @type {any} */ reason) => reason);
  assert.deepEqual([error.name, error.code, error.cause.message], ['AbortError', 'ABORT_ERR', 'enough']);
  await assert.rejects(client.request('x', { signal: AbortSignal.abort() }), { code: 'ABORT_ERR' });
});

test('the channel is closed before the reply, by either end', options, async (t) => {
  for (const who of ['client', 'peer']) {
    for (const how of ['disconnect', 'destroy']) {
      const ends = /** @type {any} */ (await pair(t));
      const asked = new Promise((resolve) => ends.peer.respond(() => new Promise(() => resolve(0))));
      const reply = ends.client.request('x').catch((/** @type {any} */ reason) => reason);
      await asked;
      ends[who][how]();
      assert.equal((await reply).code, 'ERR_CORRAL_NO_REPLY', `${who} ${how}`);
    }
  }
});

test('a request on a closed channel, and on one that never connects, rejects', options, async (t) => {
  const { client } = await pair(t);
  const closed = next(client, 'close');
  client.disconnect();
  await closed;
  await assert.rejects(client.request('x'), { code: 'ERR_IPC_CHANNEL_CLOSED' });
  const lonely = open(t, pathFor(t));
  lonely.on('error', () => {});
  await assert.rejects(lonely.request('x'), { code: 'ERR_IPC_CHANNEL_CLOSED' });
});

test('a reply that is too large, or cannot be serialized, tells the asker', options, async (t) => {
  const { client, peer } = await pair(t, {}, { maxMessageSize: 1000 });
  peer.respond((/** @type {string} */ what) => (what === 'large' ? 'x'.repeat(2000) : 1n));
  await assert.rejects(client.request('large'), { code: 'ERR_CORRAL_MESSAGE_TOO_LARGE' });
  await assert.rejects(client.request('bigint'), /BigInt/);
  peer.respond(() => 'fine');
  assert.equal(await client.request('x'), 'fine');
});

test('a request that is too large rejects and is not sent', options, async (t) => {
  const { client, peer } = await pair(t, { maxMessageSize: 1000 });
  peer.respond(() => 'fine');
  await assert.rejects(client.request('x'.repeat(2000)), { code: 'ERR_CORRAL_MESSAGE_TOO_LARGE' });
  assert.equal(await client.request('x'), 'fine');
  assert.throws(() => client.send(1n), TypeError);
  await assert.rejects(client.request(1n), TypeError);
});

test('a request that waits while the connection is lost is answered by the next one', options, async (t) => {
  const where = pathFor(t);
  const first = net.createServer({ ipc: true }).listen(where);
  const accepted = next(first, 'connection');
  const client = open(t, where, { reconnect: { minDelay: 1, maxDelay: 5 } });
  const peer = await accepted;
  const asked = new Promise((resolve) => peer.respond(() => new Promise(() => resolve(0))));
  const lost = assert.rejects(client.request('asked and lost'), { code: 'ERR_CORRAL_NO_REPLY' });
  await asked;
  peer.pause();
  while (client.send('x'.repeat(100_000)));
  const waiting = client.request('waits');
  await shut(first);
  await lost;
  const offline = client.request('offline');
  const second = await serve(t, {}, { path: where });
  second.on('connection', (/** @type {any} */ channel) => {
    channel.on('message', () => {});
    channel.respond((/** @type {any} */ message) => `answer to ${message}`);
  });
  assert.deepEqual(await Promise.all([waiting, offline]), ['answer to waits', 'answer to offline']);
});

test("internal messages of a peer's own are no replies and no messages", options, async (t) => {
  const { client, peer } = await pair(t);
  peer.respond(() => 'right');
  for (const message of [
    { cmd: 'NODE_CORRAL_REPLY', id: 98, msg: 'wrong' },
    { cmd: 'NODE_CORRAL_REPLY' },
    { cmd: 'NODE_CORRAL_REPLY', id: 99, error: 5 },
    { cmd: 'NODE_CORRAL_REQUEST' },
    { cmd: 'NODE_ELSE', id: {} },
  ]) {
    peer.send(message);
  }
  assert.equal(await client.request('x'), 'right');
  const got = messages(client, 1);
  peer.send({ cmd: 'NODE_' });
  assert.deepEqual(await got, [{ cmd: 'NODE_' }]);
});

test(
  'an error reply in which nothing is what it should be rejects its request, and nothing else',
  options,
  async (t) => {
    const { client, peer } = await pair(t);
    const nothing = { toString: 1, valueOf: 1 };
    const errors = [
      { message: nothing, name: nothing, code: nothing, errno: 'x', syscall: nothing, stack: 'here' },
      { message: null, name: 1, code: 2, errno: null, syscall: 3 },
      [],
    ];
    for (const error of errors) {
      peer.once('internalMessage', (/** @type {any} */ { id }) =>
        peer._send({ cmd: 'NODE_CORRAL_REPLY', id, error }),
      );
      // Never answered by itself.
      peer.respond(() => new Promise(() => {}));
      const rejected = await client.request('who are you?').catch((/** @type {Error} */ reason) => reason);
      assert.ok(rejected instanceof Error);
      assert.equal(String(rejected), 'Error');
      assert.deepEqual(Object.keys(rejected), []);
      assert.notEqual(rejected.stack, 'here');
    }
  },
);

test('whatever a responder throws, who asked gets an error', options, async (t) => {
  const { client, peer } = await pair(t);
  const fail = () => {
    throw new Error('a getter');
  };
  const thrown = {
    'Symbol(thrown)': Symbol('thrown'),
    undefined: undefined,
    'an error that cannot be read': Object.defineProperty(new Error('x'), 'code', { get: fail }),
    'an error that cannot be read ': Object.create(null),
    'an error that cannot be read  ': { toString: fail },
    'an error that cannot be read   ': new Proxy({}, { get: fail, getPrototypeOf: fail }),
    'of its own kind': Object.assign(new Error('of its own kind'), { code: fail, errno: 'x', syscall: 1n }),
  };
  for (const [message, reason] of Object.entries(thrown)) {
    peer.respond(() => {
      throw reason;
    });
    await assert.rejects(client.request('x'), (/** @type {Error} */ error) => {
      assert.equal(error.message, message.trim());
      assert.deepEqual(Object.keys(error), []);
      return true;
    });
  }
});

test(
  'a peer that had asked much and gone cost an error for each of its requests, twice',
  options,
  async () => {
    /** @type {any[]} */
    const sent = [];
    const gone = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' });
    /** @type {any} */
    const channel = {
      connected: true,
      send(
        /** @type {any} */ reply,
        /** @type {any} */ _handle,
        /** @type {any} */ _options,
        callback = () => {},
      ) {
        sent.push(reply.id);
        process.nextTick(callback, gone);
        return true;
      },
    };
    const requests = new Requests(channel, () => {});
    requests.respond((/** @type {any} */ message) => message);
    const ask = async (/** @type {number[]} */ ...ids) => {
      for (const id of ids) requests.onInternal({ cmd: REQUEST, id, msg: 'a request' }, undefined);
      await setImmediate();
    };
    await ask(1);
    await ask(2, 3, 4);
    assert.deepEqual(sent, [1]);
    // On the next connection somebody reads again.
    requests.onDisconnect();
    await ask(5);
    assert.deepEqual(sent, [1, 5]);
  },
);

test('why a reply cannot be sent is one error, however often', options, async () => {
  /** @type {any[]} */
  const seen = [];
  const writer = { isDirect: true, acceptsAttachments: () => false, write: () => -constants.errno.ENOBUFS };
  /** @type {any} */
  const parts = { child: {}, serialization: { write: JSON.stringify }, bounds: {}, control: {} };
  const queue = new WriteQueue(/** @type {any} */ ({ writer }), 1, parts);
  for (const isReply of [true, true, false, false])
    queue.send({}, { isReply }, (/** @type {any} */ error) => seen.push(error));
  await setImmediate();
  assert.deepEqual(
    seen.map(({ code }) => code),
    Array(4).fill('ERR_CORRAL_QUEUE_FULL'),
  );
  assert.equal(seen[0], seen[1]);
  assert.notEqual(seen[2], seen[3]);
});
