'use strict';

// Channels that have names, between a primary and its workers, on every kind of channel.

const assert = require('node:assert/strict');
const { once } = require('node:events');

const { LONGEST_TIMEOUT } = require('../../../lib/util/longest-timeout');
const { endAll, message, next } = require('../../helpers/events');

const BOTH = ['json', 'advanced'];
/** Nobody is late. */
const LONG = { timeout: LONGEST_TIMEOUT };

/** @param {Promise<any>} promise */
const codeOf = (promise) =>
  promise.then(
    () => undefined,
    ({ code }) => code,
  );

/** @param {any} context workers that have said that they are ready */
async function ready({ fork }, count) {
  const workers = Array.from({ length: count }, () => fork());
  await Promise.all(workers.map((worker) => message(worker, (text) => text === 'ready')));
  return workers;
}

module.exports = {
  'a program and two libraries do not hear each other': {
    modes: BOTH,
    async primary(/** @type {any} */ { cluster, fork }) {
      const heard = [];
      for (const name of ['one', 'two']) {
        const channel = cluster.channel(name);
        channel.on('message', (from, text) => heard.push([name, from.id, text]));
        channel.respond((question, from) => `${name} to ${from.id}: ${question}`);
      }
      cluster.on('message', (worker, text) => heard.push(['', worker.id, text]));
      const [worker] = await ready({ fork }, 1);
      worker.respond((question) => `program: ${question}`);
      assert.equal(cluster.channel('one'), cluster.channel('one'));
      assert.deepEqual(await cluster.channel('one').request(worker, 'a'), ['one', 'a']);
      assert.deepEqual(await cluster.channel('two').request(1, 'b'), ['two', 'b']);
      assert.deepEqual(await worker.request('c'), ['program', 'c']);
      assert.equal(await codeOf(cluster.channel('three').request(worker, 'd')), 'ERR_CORRAL_NO_HANDLER');
      cluster.channel('three').broadcast('nobody');
      cluster.channel('one').send(worker, 'sent');
      cluster.channel('two').broadcast('to all');
      worker.send('end');
      assert.deepEqual(await message(worker, Array.isArray), [
        ['one', 'sent'],
        ['two', 'to all'],
        'one to 1: x',
        'program: y',
      ]);
      assert.deepEqual(heard.slice(0, 3), [
        ['', 1, 'ready'],
        ['one', 1, 'answer'],
        ['two', 1, 'answer'],
      ]);
      assert.equal(heard.length, 4);
      await endAll(cluster);
    },
    worker(/** @type {any} */ { cluster }) {
      const heard = [];
      for (const name of ['one', 'two']) {
        const channel = cluster.channel(name);
        channel.on('message', (from, text) => {
          assert.equal(from, cluster.worker);
          heard.push([name, text]);
          channel.send('primary', 'answer');
        });
        channel.respond((question) => [name, question]);
      }
      cluster.worker.respond((question) => ['program', question]);
      process.on('message', async () => {
        heard.push(await cluster.channel('one').request('primary', 'x'));
        heard.push(await cluster.worker.request('y'));
        process.send(heard);
      });
      process.send('ready');
    },
  },

  'a second responder is an error, unless the first was removed': {
    async primary(/** @type {any} */ { cluster, fork }) {
      const channel = cluster.channel('name');
      channel.respond(() => 'first');
      assert.throws(() => channel.respond(() => 'second'), {
        code: 'ERR_CORRAL_RESPONDER_EXISTS',
        message: /'name'/,
      });
      assert.throws(() => channel.respond('none'), { code: 'ERR_INVALID_ARG_TYPE' });
      const [worker] = await ready({ fork }, 1);
      assert.equal(await message(worker, ({ reply }) => reply).then(({ reply }) => reply), 'first');
      channel.respond(undefined).respond(() => 'third');
      worker.send('again');
      assert.equal(await message(worker, ({ reply }) => reply).then(({ reply }) => reply), 'third');
      await endAll(cluster);
    },
    worker(/** @type {any} */ { cluster }) {
      const ask = async () => process.send({ reply: await cluster.channel('name').request('primary', 1) });
      process.on('message', ask);
      process.send('ready');
      ask();
    },
  },

  'who is asked and has answered, failed or gone is told apart': {
    modes: BOTH,
    async primary(/** @type {any} */ { cluster, fork }) {
      const channel = cluster.channel('states');
      const workers = await ready({ fork }, 5);
      // A plain one, which would never answer, and one that has the channel and answers nothing there, have no part in it.
      const plain = fork('', { CORRAL_TEST_PLAIN: '1' });
      await next(plain, 'online');
      const asked = Promise.all(
        workers.slice(0, 4).map((worker) => message(worker, (text) => text === 'asked')),
      );
      const gathered = channel.gather({ do: 'as I say' }, LONG);
      await asked;
      workers[2].process.kill('SIGKILL');
      const { replies, failed, gone, late } = await gathered;
      assert.deepEqual(replies, [{ id: 1, reply: 'worker 1' }]);
      assert.deepEqual(
        failed.map(({ id, error }) => [id, error.name, error.message, error.code]),
        [
          [2, 'RangeError', 'as asked', 'EASKED'],
          // The responder's own request found nobody, and not this one.
          [4, 'Error', 'The peer does not answer requests', 'ERR_CORRAL_NO_HANDLER'],
        ],
      );
      assert.deepEqual([gone, late], [[3], []]);
      await endAll(cluster);
    },
    worker(/** @type {any} */ { cluster }) {
      if (process.env.CORRAL_TEST_PLAIN) return;
      const { id } = cluster.worker;
      const channel = cluster.channel('states');
      if (id < 5) {
        channel.respond(async () => {
          process.send('asked');
          if (id === 2) throw Object.assign(new RangeError('as asked'), { code: 'EASKED' });
          if (id === 3) return new Promise(() => {});
          if (id === 4) return channel.request('primary', 'nobody answers');
          return `worker ${id}`;
        });
      }
      process.send('ready');
    },
  },

  'who has given a channel up is not asked any more, and may have it back': {
    async primary(/** @type {any} */ { cluster, fork }) {
      const channel = cluster.channel('name');
      const [worker] = await ready({ fork }, 1);
      const ids = async () => (await channel.gather('?', LONG)).replies;
      assert.deepEqual(await ids(), [{ id: 1, reply: 'here' }]);
      worker.send('close');
      await message(worker);
      assert.deepEqual(await ids(), []);
      assert.equal(await codeOf(channel.request(worker, '?')), 'ERR_CORRAL_NO_HANDLER');
      worker.send('open');
      await message(worker);
      assert.deepEqual(await ids(), [{ id: 1, reply: 'here' }]);
      channel.close();
      channel.close();
      for (const use of ['broadcast', 'gather', 'respond']) {
        assert.throws(() => channel[use]('x'), { code: 'ERR_IPC_CHANNEL_CLOSED' });
      }
      assert.notEqual(cluster.channel('name'), channel);
      await endAll(cluster);
    },
    worker(/** @type {any} */ { cluster }) {
      const open = () => cluster.channel('name').respond(() => 'here');
      process.on('message', (what) => {
        if (what === 'open') open();
        else cluster.channel('name').close();
        process.send('done');
      });
      open();
      process.send('ready');
    },
  },

  'a request and a gathering end by a signal, and what cannot be asked is refused': {
    async primary(/** @type {any} */ { cluster, fork }) {
      for (const name of [undefined, 5, {}]) {
        assert.throws(() => cluster.channel(name), { code: 'ERR_INVALID_ARG_TYPE' });
      }
      for (const name of ['', 'x'.repeat(257)]) {
        assert.throws(() => cluster.channel(name), { code: 'ERR_INVALID_ARG_VALUE' });
      }
      const [worker] = await ready({ fork }, 1);
      const channel = cluster.channel('name');
      const controller = new AbortController();
      const { signal } = controller;
      const both = [channel.request(worker, 1, { signal }), channel.gather(1, { ...LONG, signal })];
      controller.abort();
      assert.deepEqual(await Promise.all(both.map(codeOf)), ['ABORT_ERR', 'ABORT_ERR']);
      assert.equal(await codeOf(channel.gather(1, { signal })), 'ABORT_ERR');
      const late = await channel.gather(1, { timeout: 20 });
      assert.deepEqual(late, { replies: [], failed: [], gone: [], late: [1] });
      assert.equal(await codeOf(channel.request(1, 1, { timeout: 20 })), 'ERR_CORRAL_REQUEST_TIMEOUT');
      for (const bad of [{ timeout: '5' }, { signal: 'now' }]) {
        assert.throws(() => channel.gather(1, bad), { code: 'ERR_INVALID_ARG_TYPE' });
        assert.throws(() => channel.request(1, 1, bad), { code: 'ERR_INVALID_ARG_TYPE' });
      }
      assert.throws(() => channel.gather(1, { timeout: -1 }), { code: 'ERR_OUT_OF_RANGE' });
      for (const use of ['gather', 'broadcast']) {
        assert.throws(() => channel[use](undefined), { code: 'ERR_MISSING_ARGS' });
        assert.throws(() => channel[use](() => {}), { code: 'ERR_INVALID_ARG_TYPE' });
      }
      for (const to of ['primary', null, undefined, {}, 1.5]) {
        assert.throws(() => channel.send(to, 1), { code: 'ERR_INVALID_ARG_TYPE' });
        assert.throws(() => channel.request(to, 1), { code: 'ERR_INVALID_ARG_TYPE' });
      }
      assert.equal(await codeOf(channel.request(99, 1)), 'ERR_CORRAL_NO_SUCH_WORKER');
      const sent = new Promise((resolve) => channel.send(99, 1, resolve));
      assert.equal((await sent).code, 'ERR_CORRAL_NO_SUCH_WORKER');
      channel.send(99, 1);
      const [error] = await once(channel, 'error').catch((error) => [error]);
      assert.equal(error.code, 'ERR_CORRAL_NO_SUCH_WORKER');
      assert.equal(await new Promise((resolve) => channel.broadcast(1, resolve)), null);
      await endAll(cluster);
      assert.equal(await codeOf(channel.request(worker, 1)), 'ERR_IPC_CHANNEL_CLOSED');
    },
    worker(/** @type {any} */ { cluster }) {
      cluster.channel('name').respond(() => new Promise(() => {}));
      process.send('ready');
    },
  },

  'a process has 1,024 channels at most': {
    async primary(/** @type {any} */ { cluster }) {
      for (let number = 0; number < 1_024; number++) cluster.channel(`${number}`);
      assert.throws(() => cluster.channel('more'), { code: 'ERR_CORRAL_TOO_MANY_CHANNELS' });
      cluster.channel('7').close();
      cluster.channel('more');
    },
  },

  "what a worker says of names is bounded, and nonsense is nobody's": {
    modes: BOTH,
    async primary(/** @type {any} */ { cluster, fork }) {
      const channel = cluster.channel('name');
      channel.on('message', (_worker, text) => assert.equal(text, 'sense'));
      const [worker] = await ready({ fork }, 1);
      // It has said 2,000 others first, and then that it has this one.
      assert.deepEqual(await channel.gather(1, LONG), { replies: [], failed: [], gone: [], late: [] });
      worker.send('go on');
      await next(channel, 'message');
      assert.deepEqual((await channel.gather(1, LONG)).replies, [{ id: 1, reply: 'still here' }]);
      await endAll(cluster);
    },
    async worker(/** @type {any} */ { cluster }) {
      const say = (cmd, rest) => process.send({ cmd: `NODE_CORRAL_${cmd}`, ...rest });
      const names = [undefined, null, 5, {}, ['name'], '', 'x'.repeat(257), '__proto__', 'constructor'];
      for (const channel of names) {
        say('CHANNEL', { channel, msg: 'nonsense' });
        say('JOIN', { channel, isOpen: true });
        say('JOIN', { channel, isOpen: 'maybe' });
        say('REQUEST', { id: 1, channel, msg: 'nonsense' });
      }
      for (let number = 0; number < 2_000; number++) say('JOIN', { channel: `${number}`, isOpen: true });
      const channel = cluster.channel('name');
      channel.respond(() => 'still here');
      process.once('message', () => {
        for (let number = 0; number < 2_000; number++) say('JOIN', { channel: `${number}`, isOpen: false });
        channel.close();
        cluster.channel('name').respond(() => 'still here');
        cluster.channel('name').send('primary', 'sense');
      });
      process.send('ready');
    },
  },
};
