'use strict';

// A real Prometheus scrapes.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const assert = require('node:assert/strict');
const { prometheusProgram } = require('../../../scripts/lib-prometheus');
const { freePort } = require('../../../scripts/lib-free-port');
const { ask } = require('../../helpers/clients');
const { endAll, next, portOf, until } = require('../../helpers/events');
const { times } = require('../../helpers/lanes');
const { get } = require('../../helpers/scrape');
const { answerWithId } = require('../../helpers/servers');

const EXAMPLE = path.join(__dirname, '../../../examples/prometheus');

/**
 * @param {number} port of Prometheus
 * @param {string} path
 * @returns {Promise<any>} the data of its answer
 */
async function api(port, path) {
  const { body } = await get(port, `/api/v1/${path}`);
  const { status, data, error } = JSON.parse(body);
  assert.equal(status, 'success', error);
  return data;
}

/** @param {number} port @param {string} query @returns {Promise<number[]>} the values of all series that it gives */
async function values(port, query) {
  const { result } = await api(port, `query?query=${encodeURIComponent(query)}`);
  return result.map((/** @type {any} */ { value }) => Number(value[1]));
}

/**
 * A scrape that others keep from the processors for too long fails, and all series are gone until the next one.
 *
 * @param {number} port
 * @param {string} query
 * @param {(values: number[]) => boolean} isIt
 */
const untilValues = (port, query, isIt) => until(async () => isIt(await values(port, query)));

module.exports = {
  'Prometheus scrapes it, over OpenMetrics and with a token, and evaluates the alerts': {
    linux: true,
    timeout: 300_000,
    async primary({ cluster, fork, scratch }) {
      const token = 's3cret';
      const { port: target } = cluster.observe({ port: 0, token }).address();
      const workers = [fork(), fork()];
      const [server] = await Promise.all(workers.map(portOf));
      for (const _ of times(7)) await ask(server);
      fs.copyFileSync(path.join(EXAMPLE, 'alerts.yml'), path.join(scratch, 'alerts.yml'));
      const config = path.join(scratch, 'prometheus.yml');
      fs.writeFileSync(
        config,
        `global: { scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms }
rule_files: [alerts.yml]
scrape_configs:
  - job_name: corral
    authorization: { credentials: ${token} }
    static_configs: [{ targets: ['127.0.0.1:${target}'] }]
`,
      );
      const port = await freePort();
      const prometheus = spawn(
        prometheusProgram('prometheus'),
        [
          `--config.file=${config}`,
          `--storage.tsdb.path=${path.join(scratch, 'data')}`,
          `--web.listen-address=127.0.0.1:${port}`,
          '--log.level=warn',
        ],
        { stdio: ['ignore', 'inherit', 'inherit'] },
      );
      try {
        const isReady = () =>
          get(port, '/-/ready').then(
            ({ status }) => status === 200,
            () => false,
          );
        await until(isReady);
        await untilValues(port, 'up{job="corral"}', (up) => up.join() === '1');
        const dispatched = 'sum(corral_server_dispatched_connections_total)';
        await untilValues(port, dispatched, (count) => count.join() === '7');
        await untilValues(port, 'corral_up', (up) => up.join() === '1');
        await untilValues(port, 'corral_workers{state="listening"}', (count) => count.join() === '2');
        const quantile = 'histogram_quantile(0.99, sum by (le) (corral_server_hand_over_seconds_bucket))';
        await untilValues(port, quantile, ([waited]) => waited > 0 && waited < 10);
        const rss = 'corral_worker_resident_memory_bytes';
        await untilValues(port, rss, (all) => all.length === 2 && all.every((bytes) => bytes > 1 << 20));
        // It has the kinds and units of OpenMetrics.
        const metadata = await api(port, 'metadata?metric=corral_worker_heap_used_bytes');
        assert.deepEqual(
          metadata.corral_worker_heap_used_bytes.map((/** @type {any} */ { type, unit }) => [type, unit]),
          [['gauge', 'bytes']],
        );
        const { groups } = await api(port, 'rules');
        await until(async () =>
          (await api(port, 'rules')).groups[0].rules.every(
            (/** @type {any} */ { health }) => health === 'ok',
          ),
        );
        assert.ok(groups[0].rules.length > 3);
        await until(async () => {
          const { activeTargets } = await api(port, 'targets');
          assert.equal(activeTargets.length, 1);
          const [{ health, lastError }] = activeTargets;
          return health === 'up' && lastError === '';
        });
      } finally {
        prometheus.kill();
        await next(prometheus, 'exit');
      }
      await endAll(cluster);
    },
    worker: answerWithId,
  },
};
