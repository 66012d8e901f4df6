'use strict';

// `corral/rsmq` beside rsmq itself: each does what the other one does, and each reads what the other one has written.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { after, before, describe, test } = require('node:test');
const Ours = require('../../rsmq');
const { freePort } = require('../../scripts/lib-free-port');
const { RedisServer, command, nodePorts } = require('../helpers/redis');
const { install } = require('../helpers/real-rsmq');

/** @typedef {import('node:test').TestContext} TestContext */
/** @typedef {any} AnyRsmq */

/** @type {RedisServer} */
let server;
let directory = '';
/** @type {any} */
let Real;

before(async () => {
  directory = install();
  Real = require(path.join(directory, 'node_modules/rsmq'));
  server = await new RedisServer().start();
});

after(async () => {
  await server.remove();
  fs.rmSync(directory, { recursive: true });
});

// A bus with nothing to wait for keeps no process.
const alive = setInterval(() => {}, 60_000);
after(() => clearInterval(alive));

/** @param {TestContext} t @param {any} Class @param {object} options @returns {AnyRsmq} */
function make(t, Class, options) {
  const rsmq = new Class(options);
  t.after(() => new Promise((resolve) => rsmq.quit(resolve)));
  return rsmq;
}

/**
 * Ends a server when all who use it have left.
 *
 * @param {TestContext} t
 * @param {RedisServer} own
 * @returns {(options: object) => AnyRsmq} makes one that uses it
 */
function usersOf(t, own) {
  /** @type {AnyRsmq[]} */
  const users = [];
  t.after(async () => {
    await Promise.all(users.map((rsmq) => new Promise((resolve) => rsmq.quit(resolve))));
    await own.remove();
  });
  return (options) => {
    const rsmq = new Ours(options);
    users.push(rsmq);
    return rsmq;
  };
}

/** Who sends, and who receives. @type {Record<string, (t: TestContext) => [AnyRsmq, AnyRsmq]>} */
const PAIRS = {
  'rsmq to rsmq': (t) => [redis(t, Real), redis(t, Real)],
  'ours to ours': (t) => [redis(t, Ours), redis(t, Ours)],
  'rsmq to ours': (t) => [redis(t, Real), redis(t, Ours)],
  'ours to rsmq': (t) => [redis(t, Ours), redis(t, Real)],
  'in a file': (t) => {
    const place = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-rsmq-'));
    const embedded = path.join(place, 'queues.db');
    const pair = /** @type {[AnyRsmq, AnyRsmq]} */ ([
      make(t, Ours, { embedded }),
      make(t, Ours, { embedded }),
    ]);
    // When both have left.
    t.after(() => fs.rmSync(place, { recursive: true, force: true }));
    return pair;
  },
};

/** @param {TestContext} t @param {any} Class @param {object} [options] */
const redis = (t, Class, options = {}) => make(t, Class, { path: server.socket, ...options });

/** @param {Promise<unknown>} call @param {string} name @param {string} message */
const fails = (call, name, message) =>
  assert.rejects(call, (/** @type {Error} */ error) => {
    assert.deepEqual([error.name, error.message], [name, message]);
    return true;
  });

/** @type {Record<string, (sender: AnyRsmq, receiver: AnyRsmq) => Promise<void>>} */
const TESTS = {
  async 'a message is sent, received, and deleted'(sender, receiver) {
    assert.equal(await sender.createQueueAsync({ qname: 'hello' }), 1);
    assert.deepEqual(await receiver.listQueuesAsync(), ['hello']);
    const id = await sender.sendMessageAsync({ qname: 'hello', message: 'Hello World ✓' });
    assert.match(id, /^[a-zA-Z0-9]{32}$/);
    const got = await receiver.receiveMessageAsync({ qname: 'hello' });
    assert.deepEqual([got.id, got.message, got.rc], [id, 'Hello World ✓', 1]);
    assert.deepEqual(Object.keys(got).sort(), ['fr', 'id', 'message', 'rc', 'sent']);
    assert.ok(Math.abs(got.sent - Date.now()) < 60_000 && Math.abs(got.fr - Date.now()) < 60_000);
    assert.ok(Number.isInteger(got.fr));
    assert.deepEqual(await sender.receiveMessageAsync({ qname: 'hello' }), {});
    const attributes = await sender.getQueueAttributesAsync({ qname: 'hello' });
    const { created, modified, ...rest } = attributes;
    assert.ok(Math.abs(created - Date.now() / 1000) < 60 && modified === created);
    assert.deepEqual(rest, {
      vt: 30,
      delay: 0,
      maxsize: 65_536,
      totalrecv: 1,
      totalsent: 1,
      msgs: 1,
      hiddenmsgs: 1,
    });
    assert.equal(await sender.deleteMessageAsync({ qname: 'hello', id }), 1);
    assert.equal(await receiver.deleteMessageAsync({ qname: 'hello', id }), 0);
    assert.equal((await receiver.getQueueAttributesAsync({ qname: 'hello' })).msgs, 0);
  },

  async 'messages come in their order, and pop removes them'(sender, receiver) {
    await sender.createQueueAsync({ qname: 'q' });
    const sent = [];
    for (let i = 0; i < 20; i += 1) sent.push(await sender.sendMessageAsync({ qname: 'q', message: `${i}` }));
    const popped = [];
    for (let i = 0; i < 20; i += 1) popped.push(await receiver.popMessageAsync({ qname: 'q' }));
    assert.deepEqual(
      popped.map(({ id, message, rc }) => [id, message, rc]),
      sent.map((id, i) => [id, `${i}`, 1]),
    );
    assert.deepEqual(await receiver.popMessageAsync({ qname: 'q' }), {});
    assert.deepEqual((await sender.getQueueAttributesAsync({ qname: 'q' })).totalrecv, 20);
  },

  async 'a message that is visible again is received again, with its first time'(sender, receiver) {
    await sender.createQueueAsync({ qname: 'q', vt: '0' });
    const id = await sender.sendMessageAsync({ qname: 'q', message: 'again' });
    const first = await receiver.receiveMessageAsync({ qname: 'q' });
    const second = await sender.receiveMessageAsync({ qname: 'q', vt: 20 });
    assert.deepEqual([second.id, second.rc, second.fr], [id, 2, first.fr]);
    assert.deepEqual(await receiver.receiveMessageAsync({ qname: 'q' }), {});
    assert.equal(await receiver.changeMessageVisibilityAsync({ qname: 'q', id, vt: 0 }), 1);
    assert.equal((await receiver.receiveMessageAsync({ qname: 'q' })).rc, 3);
    assert.equal(await receiver.deleteMessageAsync({ qname: 'q', id }), 1);
    assert.equal(await receiver.changeMessageVisibilityAsync({ qname: 'q', id, vt: 0 }), 0);
  },

  async 'delays, of the queue and of the message'(sender, receiver) {
    await sender.createQueueAsync({ qname: 'q', delay: 1_000 });
    await sender.sendMessageAsync({ qname: 'q', message: 'later' });
    await sender.sendMessageAsync({ qname: 'q', message: 'now', delay: '0.9' });
    assert.equal((await receiver.popMessageAsync({ qname: 'q' })).message, 'now');
    assert.deepEqual(await receiver.popMessageAsync({ qname: 'q' }), {});
    const { msgs, hiddenmsgs } = await receiver.getQueueAttributesAsync({ qname: 'q' });
    assert.deepEqual([msgs, hiddenmsgs], [1, 1]);
  },

  async 'attributes are set, and only those'(sender, receiver) {
    await sender.createQueueAsync({ qname: 'q', vt: 5, delay: 6, maxsize: 2_000 });
    const set = await receiver.setQueueAttributesAsync({ qname: 'q', vt: 7.9, maxsize: -1 });
    assert.deepEqual([set.vt, set.delay, set.maxsize], [7, 6, -1]);
    const long = 'x'.repeat(70_000);
    await sender.sendMessageAsync({ qname: 'q', message: long, delay: 0 });
    assert.equal((await receiver.popMessageAsync({ qname: 'q' })).message, long);
  },

  async 'errors have names and texts'(sender, receiver) {
    await sender.createQueueAsync({ qname: 'q', maxsize: 1_024 });
    for (const one of [sender, receiver]) {
      await fails(one.createQueueAsync({ qname: 'q' }), 'queueExists', 'Queue exists');
      await fails(one.createQueueAsync({}), 'missingParameter', 'No qname supplied');
      await fails(one.createQueueAsync({ qname: 'a b' }), 'invalidFormat', 'Invalid qname format');
      const range = 'vt must be between 0 and 9999999';
      await fails(one.createQueueAsync({ qname: 'p', vt: -1 }), 'invalidValue', range);
      await fails(one.createQueueAsync({ qname: 'p', vt: 'x' }), 'invalidValue', range);
      const size = 'maxsize must be between 1024 and 65536';
      await fails(one.createQueueAsync({ qname: 'p', maxsize: 10 }), 'invalidValue', size);
      for (const call of [
        'sendMessage',
        'receiveMessage',
        'popMessage',
        'deleteQueue',
        'getQueueAttributes',
      ]) {
        const missing = one[`${call}Async`]({ qname: 'none', message: 'x' });
        await fails(missing, 'queueNotFound', 'Queue not found');
      }
      const absent = one.sendMessageAsync({ qname: 'none', message: 1, delay: -1 });
      await fails(absent, 'queueNotFound', 'Queue not found');
      const delay = 'delay must be between 0 and 9999999';
      await fails(one.sendMessageAsync({ qname: 'q', message: 1, delay: -1 }), 'invalidValue', delay);
      await fails(
        one.sendMessageAsync({ qname: 'q', message: 1 }),
        'messageNotString',
        'Message must be a string',
      );
      const long = 'ä'.repeat(1_025);
      await fails(one.sendMessageAsync({ qname: 'q', message: long }), 'messageTooLong', 'Message too long');
      await fails(one.receiveMessageAsync({ qname: 'q', vt: 'x' }), 'invalidValue', range);
      const nothing = one.setQueueAttributesAsync({ qname: 'q' });
      await fails(nothing, 'noAttributeSupplied', 'No attribute was supplied');
      await fails(one.deleteMessageAsync({ qname: 'q' }), 'missingParameter', 'No id supplied');
      await fails(one.deleteMessageAsync({ qname: 'q', id: 'x' }), 'invalidFormat', 'Invalid id format');
    }
    await sender.sendMessageAsync({ qname: 'q', message: 'ä'.repeat(1_024) });
    assert.equal(await receiver.deleteQueueAsync({ qname: 'q' }), 1);
    assert.deepEqual(await sender.listQueuesAsync(), []);
  },

  async callbacks(sender, receiver) {
    const result = (/** @type {any} */ rsmq, /** @type {string} */ call, /** @type {any[]} */ ...args) =>
      new Promise((resolve) => rsmq[call](...args, (/** @type {any[]} */ ...given) => resolve(given)));
    assert.deepEqual(await result(sender, 'createQueue', { qname: 'q' }), [null, 1]);
    const [, id] = await result(sender, 'sendMessage', { qname: 'q', message: 'x' });
    assert.deepEqual(await result(receiver, 'listQueues'), [null, ['q']]);
    assert.equal((await result(receiver, 'receiveMessage', { qname: 'q' }))[1].id, id);
    assert.equal((await result(receiver, 'deleteQueue', { qname: 'none' }))[0].name, 'queueNotFound');
  },
};

for (const [pair, start] of Object.entries(PAIRS)) {
  describe(pair, () => {
    for (const [name, run] of Object.entries(TESTS)) {
      test(name, async (t) => {
        await command(server, 'FLUSHALL');
        await run(...start(t));
      });
    }
  });
}

describe('realtime', () => {
  test('the number of messages is published when one is sent, also a delayed one', async (t) => {
    for (const Class of [Real, Ours]) {
      await command(server, 'FLUSHALL');
      const socket = net.connect(server.socket).setEncoding('utf8');
      t.after(() => socket.destroy());
      socket.write('SUBSCRIBE rsmq:rt:q\r\n');
      await once(socket, 'data');
      const heard = once(socket, 'data');
      const rsmq = redis(t, Class, { realtime: true });
      await rsmq.createQueueAsync({ qname: 'q', delay: 100 });
      await rsmq.sendMessageAsync({ qname: 'q', message: 'x' });
      assert.match((await heard)[0], /rsmq:rt:q\r\n\$1\r\n1\r\n/);
    }
  });

  test('a bus on the same file hears of it', async (t) => {
    const place = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-rsmq-'));
    const embedded = path.join(place, 'queues.db');
    const bus = await require('../../bus').connect(`file:${embedded}`);
    t.after(() => bus.close());
    const subscription = await bus.subscribe('rsmq:rt:q');
    const rsmq = make(t, Ours, { embedded, realtime: true });
    t.after(() => fs.rmSync(place, { recursive: true, force: true }));
    await rsmq.createQueueAsync({ qname: 'q' });
    await rsmq.sendMessageAsync({ qname: 'q', message: 'x' });
    for await (const { message } of subscription) {
      assert.equal(message, 1);
      break;
    }
  });
});

describe('what rsmq gets wrong', () => {
  test('a pop that was made before the connection was there runs once, whatever the connection does', async (t) => {
    await command(server, 'FLUSHALL');
    const rsmq = redis(t, Ours);
    const popped = rsmq.createQueueAsync({ qname: 'q' }).then(() => rsmq.popMessageAsync({ qname: 'q' }));
    assert.deepEqual(await popped, {});
    for (const message of ['a', 'b']) await rsmq.sendMessageAsync({ qname: 'q', message });
    const back = once(rsmq, 'connect');
    await command(server, 'CLIENT', 'KILL', 'TYPE', 'normal');
    await command(server, 'CLIENT', 'KILL', 'TYPE', 'pubsub');
    await back;
    assert.equal((await rsmq.getQueueAttributesAsync({ qname: 'q' })).msgs, 2);
  });

  test('options are honoured in both places, and a wrong password is an error', async (t) => {
    const port = await freePort();
    const own = await new RedisServer({ port: `${port}`, bind: '127.0.0.1', requirepass: 'right' }).start();
    const use = usersOf(t, own);
    for (const options of [
      { port, password: 'right' },
      { port, options: { password: 'right', db: 3 } },
    ]) {
      assert.deepEqual(await use(options).listQueuesAsync(), []);
    }
    const wrong = use({ port, password: 'wrong' });
    const disconnected = once(wrong, 'disconnect');
    await assert.rejects(wrong.listQueuesAsync(), { code: 'ERR_CORRAL_BUS_DENIED' });
    await disconnected;
    await assert.rejects(wrong.listQueuesAsync(), { code: 'ERR_CORRAL_BUS_DENIED' });
  });

  test('a host or a port that is none is refused, and nobody else is asked', () => {
    for (const options of [{ port: 'abc' }, { port: 99_999 }, { host: 'a b' }]) {
      assert.throws(() => new Ours(options), { code: 'ERR_INVALID_ARG_VALUE' }, JSON.stringify(options));
    }
  });

  test('the options of the program stay as they are', async (t) => {
    await command(server, 'FLUSHALL');
    const rsmq = redis(t, Ours);
    const options = Object.freeze({ qname: 'q', message: 'x' });
    await rsmq.createQueueAsync(options);
    await rsmq.sendMessageAsync(options);
    await rsmq.setQueueAttributesAsync({ qname: 'q', vt: 3 });
    await rsmq.receiveMessageAsync(options);
    assert.deepEqual(options, { qname: 'q', message: 'x' });
  });

  test('a script that the server has forgotten is told again', async (t) => {
    await command(server, 'FLUSHALL');
    const rsmq = redis(t, Ours);
    await rsmq.createQueueAsync({ qname: 'q' });
    await command(server, 'SCRIPT', 'FLUSH');
    await rsmq.sendMessageAsync({ qname: 'q', message: 'x' });
    assert.equal((await rsmq.popMessageAsync({ qname: 'q' })).message, 'x');
  });

  test('a client that it would ignore is refused, and one that it takes is used', async (t) => {
    await command(server, 'FLUSHALL');
    class Redis {}
    for (const client of [new Redis(), {}, 'redis']) {
      assert.throws(() => new Ours({ client: /** @type {any} */ (client) }), {
        code: 'ERR_INVALID_ARG_VALUE',
      });
    }
    assert.throws(() => new Ours({ embedded: /** @type {any} */ (1) }), { code: 'ERR_INVALID_ARG_TYPE' });
    const client = require(path.join(directory, 'node_modules/redis')).createClient({ path: server.socket });
    t.after(() => client.quit());
    const rsmq = make(t, Ours, { client });
    await rsmq.createQueueAsync({ qname: 'q' });
    assert.match(await command(server, 'KEYS', '*'), /rsmq:QUEUES/);
  });

  test('what is visible in this second is not hidden', async (t) => {
    await command(server, 'FLUSHALL');
    const rsmq = redis(t, Ours);
    await rsmq.createQueueAsync({ qname: 'q' });
    await rsmq.sendMessageAsync({ qname: 'q', message: 'x' });
    assert.equal((await rsmq.getQueueAttributesAsync({ qname: 'q' })).hiddenmsgs, 0);
  });

  test('a cluster, with a namespace in braces', async (t) => {
    const ports = await nodePorts();
    const port = Number(ports.port);
    const own = await new RedisServer({ ...ports, bind: '127.0.0.1', 'cluster-enabled': 'yes' }).start();
    const use = usersOf(t, own);
    const slots = Array.from({ length: 16_384 }, (_, i) => `${i}`);
    await command(own, 'CLUSTER', 'ADDSLOTS', ...slots);
    while (!/cluster_state:ok/.test(await command(own, 'CLUSTER', 'INFO')));
    const rsmq = use({ port, cluster: true, ns: '{rsmq}' });
    await rsmq.createQueueAsync({ qname: 'q' });
    const id = await rsmq.sendMessageAsync({ qname: 'q', message: 'x' });
    assert.equal((await rsmq.receiveMessageAsync({ qname: 'q' })).id, id);
  });
});
