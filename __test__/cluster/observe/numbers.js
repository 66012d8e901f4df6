'use strict';

// What is counted and measured.

const assert = require('node:assert/strict');

const { ask } = require('../../helpers/clients');
const { endAll, hasSettled, message, next, portOf, until } = require('../../helpers/events');
const { times } = require('../../helpers/lanes');
const { get, samplesOf } = require('../../helpers/scrape');
const { answerWithId } = require('../../helpers/servers');

const COUNT = 20;

/** @param {number} port */
async function scrape(port) {
  return samplesOf((await get(port, '/metrics')).body);
}

/**
 * @param {Map<string, number>} samples
 * @param {string} name
 * @returns {number} of all that have it, whatever their labels are
 */
function sum(samples, name) {
  const found = [...samples].filter(([sample]) => sample.split('{')[0] === name);
  return found.reduce((total, [, value]) => total + value, 0);
}

module.exports = {
  'each connection is timed once, from accept to hand-over and to its worker': {
    policies: ['one-queue', 'round-robin'],
    async primary({ cluster, fork }) {
      const { port } = cluster.observe({ port: 0 }).address();
      // One that has a lane, and one that has none.
      const workers = [fork(), fork('', { CORRAL_TEST_PLAIN: '1' })];
      const [server] = await Promise.all(workers.map(portOf));
      await until(() => hasSettled(cluster, workers[0]));
      await Promise.all(times(COUNT).map(() => ask(server)));
      let samples = await scrape(port);
      await until(async () => {
        samples = await scrape(port);
        return sum(samples, 'corral_server_dispatched_connections_total') === COUNT;
      });
      assert.equal(sum(samples, 'corral_server_hand_over_seconds_count'), COUNT);
      for (const worker of [1, 2]) {
        const taken = samples.get(`corral_worker_connection_taken_seconds_count{worker="${worker}"}`);
        const dispatched = samples.get(`corral_worker_dispatched_connections_total{worker="${worker}"}`);
        const hasPulse = cluster.stats().workers[worker - 1].idleBy === 'pulse';
        if (worker === 2 || hasPulse) assert.equal(taken, dispatched, `worker ${worker}`);
      }
      await endAll(cluster);
    },
    worker: answerWithId,
  },

  'how workers end is counted by reason': {
    async primary({ cluster, fork }) {
      const { port } = cluster.observe({ port: 0 }).address();
      const ended = async (/** @type {string} */ role, /** @type {(worker: any) => void} */ end) => {
        const worker = fork(role);
        const gone = next(worker, 'exit');
        await next(worker, 'online');
        end(worker);
        await gone;
      };
      await ended('', (worker) => worker.disconnect());
      await ended('', (worker) => worker.process.kill('SIGKILL'));
      await ended('', (worker) => worker.process.kill('SIGKILL'));
      await ended('exit', (worker) => worker.send('exit'));
      let samples = await scrape(port);
      await until(async () => {
        samples = await scrape(port);
        return sum(samples, 'corral_worker_exits_total') === 4;
      });
      const exits = (/** @type {string} */ reason, /** @type {string} */ status) =>
        samples.get(`corral_worker_exits_total{reason="${reason}",status="${status}"}`);
      assert.deepEqual([exits('disconnect', '0'), exits('signal', 'SIGKILL'), exits('exit', '7')], [1, 2, 1]);
      assert.equal(samples.get('corral_workers_spawned_total'), 4);
      assert.equal(samples.get('corral_worker_online_delay_seconds_count'), 4);
    },
    worker({ role }) {
      process.on('message', () => process.exit(7));
      if (role === '') process.channel.ref();
    },
  },

  'runtimes show their heaps and their collections, and a worker that came before as well': {
    async primary({ cluster, fork }) {
      const worker = fork();
      await portOf(worker);
      await until(() => hasSettled(cluster, worker));
      const observer = cluster.observe({ port: 0 });
      const { port } = observer.address();
      const shows = (/** @type {string} */ name) => async () => sum(await scrape(port), name) > 0;
      await until(shows('corral_worker_heap_used_bytes'));
      await until(shows('corral_primary_heap_used_bytes'));
      worker.send('collect');
      await message(worker);
      await until(shows('corral_worker_garbage_collections_total'));
      const { 'corral_worker_event_loop_lag_seconds_count{worker="1"}': turns } = Object.fromEntries(
        await scrape(port),
      );
      assert.ok(turns > 0);
      observer.close();
      // And again, after nobody has wanted to know for longer than it takes to notice.
      worker.send('unobserved');
      await message(worker, (text) => text === 'unobserved');
      const { port: other } = cluster.observe({ port: 0 }).address();
      const age = 'corral_worker_runtime_age_seconds{worker="1"}';
      await until(async () => (await scrape(other)).get(age) < 1);
      await endAll(cluster);
    },
    worker(context) {
      answerWithId(context);
      process.on('message', async (text) => {
        if (text === 'collect') require('node:v8').setFlagsFromString('--expose-gc');
        if (text === 'collect') require('node:vm').runInNewContext('gc')();
        if (text === 'unobserved') await new Promise((resolve) => setTimeout(resolve, 2500));
        process.send(text);
      });
    },
  },

  'while the sum of a load is served the numbers never fall': {
    async primary({ cluster, fork }) {
      const { port } = cluster.observe({ port: 0 }).address();
      const workers = [fork(), fork()];
      const [server] = await Promise.all(workers.map(portOf));
      let before = await scrape(port);
      for (const _ of times(10)) {
        await Promise.all(times(5).map(() => ask(server)));
        const now = await scrape(port);
        for (const [name, value] of before) {
          const isCounter = /_(total|bucket|count|sum)(\{|$)/.test(name);
          if (isCounter && now.has(name)) assert.ok(now.get(name) >= value, `${name} fell`);
        }
        before = now;
      }
      await endAll(cluster);
    },
    worker: answerWithId,
  },
};
