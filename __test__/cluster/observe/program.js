'use strict';

// The program's own metrics, of all workers together.

const assert = require('node:assert/strict');

const { endAll, hasSettled, next, portOf, until } = require('../../helpers/events');
const { block, blockWhenTold, release } = require('../../helpers/lanes');
const { get, samplesOf, scrapeBlocking } = require('../../helpers/scrape');
const { answerWithId } = require('../../helpers/servers');

/** @param {number} port @param {(samples: Map<string, number>) => boolean} wanted */
async function scrapeUntil(port, wanted) {
  let samples = new Map();
  await until(async () => {
    samples = samplesOf((await get(port, '/metrics')).body);
    return wanted(samples);
  });
  return samples;
}

/** @param {any} context whose role is what its metrics are called */
function publish({ cluster, role }) {
  const { Counter, Gauge, Histogram, Registry } = require('prom-client');
  const register = new Registry();
  const registers = [register];
  const { id } = cluster.worker;
  new Counter({ name: 'jobs_total', help: 'Jobs.', labelNames: ['kind'], registers }).inc({ kind: 'a' }, id);
  new Histogram({ name: 'wait_seconds', help: 'Waits.', buckets: [1], registers }).observe(id);
  for (const aggregator of ['sum', 'min', 'max', 'average', 'first', 'omit']) {
    new Gauge({ name: `of_${aggregator}`, help: 'Numbers.', aggregator, registers }).set(id * 10);
  }
  cluster.publishMetrics(register, { interval: 100 });
  if (role !== 'text') return;
  cluster.publishMetrics(async () => '# TYPE texts_total counter\ntexts_total{a="b"} 2\n', { interval: 100 });
}

module.exports = {
  'registries of all workers are merged as prom-client merges them': {
    linux: true,
    async primary({ cluster, fork }) {
      const { AggregatorRegistry, Registry, Gauge, Counter, Histogram } = require('prom-client');
      const { port } = cluster.observe({ port: 0 }).address();
      const workers = [fork(), fork('text'), fork('text')];
      await Promise.all(workers.map(portOf));
      const samples = await scrapeUntil(port, (all) => all.get('jobs_total{kind="a"}') === 6);
      const own = ['jobs_total', 'wait_seconds', 'of_'];
      const found = [...samples].filter(([name]) => own.some((prefix) => name.startsWith(prefix)));
      // What prom-client makes of the same.
      const registries = await Promise.all(
        [1, 2, 3].map((id) => {
          const registers = [new Registry()];
          new Counter({ name: 'jobs_total', help: 'Jobs.', labelNames: ['kind'], registers }).inc(
            { kind: 'a' },
            id,
          );
          new Histogram({ name: 'wait_seconds', help: 'Waits.', buckets: [1], registers }).observe(id);
          for (const aggregator of ['sum', 'min', 'max', 'average', 'first', 'omit']) {
            new Gauge({ name: `of_${aggregator}`, help: 'Numbers.', aggregator, registers }).set(id * 10);
          }
          return registers[0].getMetricsAsJSON();
        }),
      );
      const expected = samplesOf(await AggregatorRegistry.aggregate(registries).metrics());
      assert.deepEqual(new Map(found), expected);
      assert.ok(await scrapeUntil(port, (all) => all.get('texts_total{a="b"}') === 4));
      const ages = [...samples].filter(([name]) => name.startsWith('corral_worker_published_age_seconds'));
      assert.ok(ages.length === 3 && ages.every(([, age]) => age < 60), `${ages}`);
      await endAll(cluster);
    },
    worker(context) {
      answerWithId(context);
      publish(context);
    },
  },

  'a counter does not fall when a worker is killed and replaced': {
    linux: true,
    async primary({ cluster, fork }) {
      const { port } = cluster.observe({ port: 0 }).address();
      const workers = [fork(), fork()];
      await Promise.all(workers.map(portOf));
      const counted = (/** @type {number} */ total) => (/** @type {Map<string, number>} */ all) =>
        all.get('jobs_total{kind="a"}') === total;
      await scrapeUntil(port, counted(3));
      workers[1].process.kill('SIGKILL');
      await next(workers[1], 'exit');
      const least = () =>
        get(port, '/metrics').then(({ body }) => samplesOf(body).get('jobs_total{kind="a"}') ?? 0);
      assert.equal(await least(), 3);
      await portOf(fork());
      // The third worker counts 3.
      const samples = await scrapeUntil(port, (all) => {
        assert.ok((all.get('jobs_total{kind="a"}') ?? 0) >= 3);
        return counted(6)(all);
      });
      assert.equal(samples.get('of_max'), 30);
      assert.equal(samples.get('of_sum'), 40);
      await endAll(cluster);
      assert.equal(await least(), 6);
    },
    worker(context) {
      answerWithId(context);
      publish(context);
    },
  },

  'they are there while all workers and the primary are blocked, with their age': {
    linux: true,
    async primary({ cluster, fork, scratch }) {
      const { port } = cluster.observe({ port: 0 }).address();
      cluster.on('blocked', () => {});
      const workers = [fork(), fork()];
      await Promise.all(workers.map(portOf));
      await until(() => workers.every((worker) => hasSettled(cluster, worker)));
      await scrapeUntil(port, (all) => all.get('jobs_total{kind="a"}') === 3);
      await block(scratch, ...workers);
      const { body } = scrapeBlocking(port, '/metrics', /published_age_seconds\{worker="1"\} [1-9]/);
      const samples = samplesOf(body);
      assert.equal(samples.get('jobs_total{kind="a"}'), 3);
      for (const worker of workers) release(scratch, worker);
      await endAll(cluster);
    },
    worker(context) {
      blockWhenTold(context);
      publish(context);
    },
  },

  'nothing is collected while nobody observes, and a source that fails is told once': {
    linux: true,
    async primary({ cluster, fork }) {
      const worker = fork();
      await portOf(worker);
      await until(() => hasSettled(cluster, worker));
      const asked = () => worker.request('asked');
      assert.deepEqual(await asked(), { collected: 0, warnings: [] });
      const observer = cluster.observe({ port: 0 });
      await until(async () => (await asked()).collected >= 3);
      const { warnings } = await asked();
      assert.deepEqual(warnings, ['CORRAL_METRICS_SOURCE']);
      observer.close();
      // It finds out with its next attempt, and there is none afterwards.
      let before = -1;
      await until(async () => {
        const { collected } = await asked();
        const isSame = collected === before;
        before = collected;
        await new Promise((resolve) => setTimeout(resolve, 300));
        return isSame;
      });
      await endAll(cluster);
    },
    worker(context) {
      answerWithId(context);
      const { cluster } = context;
      let collected = 0;
      const warnings = [];
      process.on('warning', ({ code }) => warnings.push(code));
      const source = () => {
        collected += 1;
        return 'fine 1\n';
      };
      const failing = () => Promise.reject(new Error('so'));
      for (const one of [source, failing]) cluster.publishMetrics(one, { interval: 100 });
      cluster.worker.respond(() => ({ collected, warnings }));
    },
  },

  'a label that JSON does not know was the end of its worker': {
    linux: true,
    async primary({ cluster, fork }) {
      const { port } = cluster.observe({ port: 0 }).address();
      const worker = fork();
      await portOf(worker);
      await scrapeUntil(port, (all) => all.get('tenants_total{tenant="12345678901234567890"}') === 2);
      assert.equal(worker.isDead(), false);
      await endAll(cluster);
    },
    worker(context) {
      answerWithId(context);
      const { Counter, Registry } = require('prom-client');
      const registers = [new Registry()];
      const tenants = new Counter({ name: 'tenants_total', help: 'T.', labelNames: ['tenant'], registers });
      tenants.inc({ tenant: 12345678901234567890n }, 2);
      context.cluster.publishMetrics(registers[0], { interval: 100 });
    },
  },

  'what is no source, and no interval, is refused': {
    async primary({ fork }) {
      const worker = fork();
      assert.deepEqual(await next(worker, 'message'), [
        'ERR_INVALID_ARG_TYPE',
        'ERR_INVALID_ARG_TYPE',
        'ERR_INVALID_ARG_TYPE',
        'ERR_OUT_OF_RANGE',
        'ERR_INVALID_ARG_TYPE',
      ]);
      await next(worker, 'exit');
    },
    worker({ cluster }) {
      const attempts = [
        [{}],
        [null],
        [() => '', null],
        [() => '', { interval: 99 }],
        [() => '', { interval: '' }],
      ];
      const codes = attempts.map((args) => {
        try {
          cluster.publishMetrics(...args);
          return 'none';
        } catch (error) {
          return error.code;
        }
      });
      process.send(codes, () => process.disconnect());
    },
  },
};
