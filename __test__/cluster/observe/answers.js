'use strict';

// What is answered, above all while nothing of JavaScript runs.

const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const { prometheusProgram } = require('../../../scripts/lib-prometheus');
const { ask } = require('../../helpers/clients');
const { endAll, hasSettled, next, portOf, until } = require('../../helpers/events');
const { block, blockWhenTold, release, times } = require('../../helpers/lanes');
const { get, samplesOf, scrapeBlocking } = require('../../helpers/scrape');
const { answerWithId } = require('../../helpers/servers');

const TEXT = 'text/plain; version=0.0.4; charset=utf-8';
const OPEN = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

/** @param {string} text metrics @returns {Set<string>} the names of the families */
function familiesOf(text) {
  return new Set(Array.from(text.matchAll(/^# TYPE (\S+) /gm), ([, name]) => name));
}

/** The names in the tables of docs/observing.md. */
function documented() {
  const text = fs.readFileSync(path.join(__dirname, '../../../docs/observing.md'), 'utf8');
  return Array.from(text.matchAll(/^\| `(corral_\w+)`/gm), ([, name]) => name);
}

module.exports = {
  'each path has its answer, and JavaScript has the same statistics': {
    async primary({ cluster, fork }) {
      const observer = cluster.observe({ port: 0 });
      const { address, port, family } = observer.address();
      assert.deepEqual([address, family], ['127.0.0.1', 'IPv4']);
      assert.equal((await get(port, '/ready')).status, 503);
      const workers = [fork(), fork()];
      const [server] = await Promise.all(workers.map(portOf));
      for (const _ of times(3)) await ask(server);
      await until(() => workers.every((worker) => hasSettled(cluster, worker)));
      // What is on its way is counted when it has arrived.
      let stats;
      await until(async () => {
        stats = cluster.stats();
        const { body } = await get(port, '/stats');
        return JSON.stringify(sorted(JSON.parse(body))) === JSON.stringify(sorted(cluster.stats()));
      });
      assert.equal(stats.servers[0].accepted, 3);
      for (const name of ['/health', '/ready']) {
        const { status, headers, body } = await get(port, name);
        assert.deepEqual([status, headers['content-type']], [200, 'application/json'], body);
        assert.equal(JSON.parse(body).status, 'ok');
      }
      const metrics = await get(port, '/metrics');
      assert.deepEqual([metrics.status, metrics.headers['content-type']], [200, TEXT]);
      assert.equal(metrics.headers['cache-control'], 'no-store');
      const open = await get(port, '/metrics', { accept: 'application/openmetrics-text; version=1.0.0' });
      assert.equal(open.headers['content-type'], OPEN);
      assert.match(open.body, /\n# EOF\n$/);
      assert.deepEqual(await get(port, '/metrics', {}, 'HEAD').then(({ status, body }) => [status, body]), [
        200,
        '',
      ]);
      assert.equal((await get(port, '/nothing')).status, 404);
      assert.equal((await get(port, '/metrics', {}, 'POST')).status, 405);
      assert.match((await get(port, '/')).body, /^<!doctype html>/);
      await endAll(cluster);
      assert.equal((await get(port, '/ready')).status, 503);
      assert.equal((await get(port, '/health')).status, 200);
    },
    worker: answerWithId,
  },

  'the answers come while the primary and all workers are blocked, and say so': {
    linux: true,
    async primary({ cluster, fork, scratch }) {
      const { port } = cluster.observe({ port: 0, blockedAfter: 100 }).address();
      const workers = [fork(), fork()];
      await Promise.all(workers.map(portOf));
      await until(() => workers.every((worker) => hasSettled(cluster, worker)));
      await block(scratch, ...workers);
      const health = scrapeBlocking(port, '/health', /failing/);
      assert.equal(health.status, 503);
      const { reasons, primary } = JSON.parse(health.body);
      assert.deepEqual(reasons, ['all 2 workers blocked for more than 100 ms']);
      assert.ok(primary.blockedFor > 0, health.body);
      assert.equal(scrapeBlocking(port, '/ready').status, 503);
      const samples = samplesOf(scrapeBlocking(port, '/metrics').body);
      for (const worker of [1, 2]) {
        assert.ok(samples.get(`corral_worker_event_loop_blocked_seconds{worker="${worker}"}`) >= 0.1);
      }
      assert.ok(samples.get('corral_primary_event_loop_blocked_seconds') > 0);
      for (const worker of workers) release(scratch, worker);
      await until(async () => (await get(port, '/health')).status === 200);
      await endAll(cluster);
    },
    worker: blockWhenTold,
  },

  'promtool finds nothing wrong, and docs/observing.md has every metric': {
    linux: true,
    timeout: 240_000,
    // Where workers count what they have open.
    policies: ['least'],
    async primary({ cluster, fork, scratch }) {
      const { port } = cluster.observe({ port: 0, blockedAfter: 100 }).address();
      const bus = await require('../../../bus').connect();
      await bus.queue('a "queue"').send('one');
      const workers = [fork(), fork()];
      const [server] = await Promise.all(workers.map(portOf));
      for (const _ of times(5)) await ask(server);
      await until(() => hasSettled(cluster, workers[0]));
      const blocked = next(cluster, 'blocked');
      await block(scratch, workers[0]);
      await blocked;
      release(scratch, workers[0]);
      fork('crash');
      const code = await new Promise((resolve) => cluster.once('exit', (_, code) => resolve(code)));
      assert.equal(code, 3);
      let metrics = '';
      // All that workers show, and what takes its time.
      await until(async () => {
        metrics = (await get(port, '/metrics')).body;
        const names = familiesOf(metrics);
        return [...documented(), 'own'].every((name) => names.has(name));
      });
      assert.deepEqual([...familiesOf(metrics)].sort(), [...documented(), 'own'].sort());
      const promtool = prometheusProgram('promtool');
      const { status, stdout, stderr } = spawnSync(promtool, ['check', 'metrics'], {
        input: metrics,
        encoding: 'utf8',
      });
      assert.deepEqual([status, stdout, stderr], [0, '', '']);
      await bus.close();
      await endAll(cluster);
    },
    worker(context) {
      if (context.role === 'crash') process.exit(3);
      blockWhenTold(context);
      context.cluster.publishMetrics(() => '# HELP own Of the program.\n# TYPE own gauge\nown 1\n');
    },
  },

  'only who observes loads the binary for it': {
    async primary({ cluster }) {
      const isLoaded = () => {
        const { sharedObjects } = /** @type {any} */ (process.report).getReport();
        return sharedObjects.some((/** @type {string} */ file) => /corral-observe\./.test(file));
      };
      assert.equal(isLoaded(), false);
      cluster.observe({ port: 0 });
      assert.equal(isLoaded(), true);
    },
  },

  'a primary that observes ends by itself, and its socket goes with it': {
    async primary({ cluster, fork, scratch }) {
      const file = path.join(scratch, 'observe');
      const observer = cluster.observe({ path: file });
      assert.equal(observer.address(), file);
      assert.equal(fs.statSync(file).mode & 0o777, 0o600);
      assert.equal((await get(file, '/health')).status, 200);
      observer.close();
      observer.close();
      assert.equal(fs.existsSync(file), false);
      const again = cluster.observe({ path: file });
      assert.throws(() => cluster.observe({ path: file }), { code: 'EADDRINUSE', syscall: 'listen' });
      assert.equal((await get(file, '/health')).status, 200);
      const worker = fork();
      await portOf(worker);
      const listeners = cluster.listenerCount('exit');
      again.close();
      assert.equal(cluster.listenerCount('exit'), listeners - 1);
      cluster.observe({ path: file });
      process.on('exit', () => fs.writeFileSync(path.join(scratch, 'ended'), ''));
      worker.kill();
      await next(worker, 'exit');
    },
    worker: answerWithId,
  },
};

/** @param {any} value @returns {any} the same with its properties in one order */
function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  const entries = Object.entries(value).map(([name, one]) => [name, sorted(one)]);
  return Object.fromEntries(entries.sort(([one], [two]) => (one < two ? -1 : 1)));
}
