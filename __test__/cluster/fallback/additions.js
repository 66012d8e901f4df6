'use strict';

// corral's additions on Node's own cluster: what its channel carries works, and the rest says why not.

const assert = require('node:assert/strict');

const { endAll, message, next } = require('../../helpers/events');

const BOTH = ['json', 'advanced'];

module.exports = {
  'either side asks and answers': {
    modes: BOTH,
    async primary({ cluster, fork }) {
      const worker = fork();
      worker.respond((question) => `${question} world`);
      await next(worker, 'online');
      assert.equal(await worker.request('hello', { timeout: 20_000 }), 'HELLO WORLD from 1');
      await assert.rejects(worker.request('fail'), { message: 'as asked', code: 'EASKED' });
      const unanswered = worker.request('leave');
      await assert.rejects(unanswered, { code: 'ERR_CORRAL_NO_REPLY' });
      await endAll(cluster);
    },
    worker({ cluster }) {
      cluster.worker.respond(async (question) => {
        if (question === 'fail') throw Object.assign(new Error('as asked'), { code: 'EASKED' });
        if (question === 'leave') return cluster.worker.disconnect() && new Promise(() => {});
        return `${(await cluster.worker.request(question)).toUpperCase()} from ${cluster.worker.id}`;
      });
    },
  },

  'a message goes to all workers': {
    modes: BOTH,
    async primary({ cluster, fork }) {
      const workers = [fork(), fork()];
      await Promise.all(workers.map((worker) => next(worker, 'online')));
      const echoes = Promise.all(workers.map((worker) => message(worker)));
      const sent = new Promise((resolve) => cluster.broadcast({ to: 'all' }, resolve));
      assert.equal(await sent, null);
      assert.deepEqual(await echoes, [{ to: 'all' }, { to: 'all' }]);
      assert.throws(() => cluster.broadcast(), { code: 'ERR_MISSING_ARGS' });
      await endAll(cluster);
    },
    worker() {
      process.once('message', (value) => process.send(value));
    },
  },

  "the constants of corral's own policies are the nearest of Node's": {
    async primary({ cluster, fork }) {
      const { SCHED_LEAST, SCHED_NONE, SCHED_REUSEPORT, SCHED_RR, SCHED_STICKY } = cluster;
      assert.deepEqual([SCHED_LEAST, SCHED_STICKY, SCHED_REUSEPORT], [SCHED_RR, SCHED_RR, SCHED_NONE]);
      cluster.schedulingPolicy = SCHED_STICKY;
      await next(fork(), 'online');
      assert.equal(cluster.schedulingPolicy, SCHED_RR);
      await endAll(cluster);
    },
    worker() {},
  },

  'what needs the core says why there is none': {
    async primary({ cluster, fork }) {
      assert.throws(() => cluster.observe({ port: 0 }), { code: 'ERR_CORRAL_NO_NATIVE' });
      assert.throws(() => cluster.stats(), {
        code: 'ERR_CORRAL_NO_NATIVE',
        message: /CORRAL_NATIVE=0 is set/,
      });
      const worker = fork();
      assert.equal(worker.suicide, undefined);
      assert.deepEqual(await message(worker), {
        native: false,
        codes: ['ERR_CORRAL_NO_NATIVE', 'ERR_CORRAL_NO_NATIVE', 'ERR_CORRAL_NO_NATIVE'],
      });
      await endAll(cluster);
    },
    async worker({ cluster }) {
      const peer = cluster.workerById(7);
      cluster.respond(() => {});
      const sent = new Promise((resolve) => peer.send('hello', resolve));
      const called = new Promise((resolve) => cluster.broadcast('hello', resolve));
      const asked = peer.request('hello').catch((error) => error);
      const errors = await Promise.all([sent, called, asked]);
      process.send({ native: cluster.native, codes: errors.map(({ code }) => code) });
    },
  },
};
