'use strict';

// What the mixed bench measures, and on which sides: its command line.

const os = require('node:os');
const path = require('node:path');
const { fail, parseObject, readList } = require('./lists');
const { WORKLOADS, meanCost } = require('./workloads');

/** @typedef {import('./mixed-program').MixedSide} MixedSide */

/**
 * @typedef {object} MixedOptions
 * @property {string} workloads
 * @property {string} workers
 * @property {string} loads percent, or `own`: each workload's
 * @property {string} connections `closed` for one for each request, or how many are kept
 * @property {string} sides empty for the usual ones
 * @property {boolean} reuse-port
 * @property {string} corral where another build is
 * @property {string} corral-settings JSON
 * @property {boolean} cpu
 * @property {boolean} control
 * @property {number} max-rate
 */

/**
 * One workload at one load.
 *
 * @typedef {object} Scenario
 * @property {string} workload
 * @property {string} title
 * @property {number} workers
 * @property {number} servers of the queue that is calculated
 * @property {boolean} saturates as many requests as the workers take, instead of arrivals
 * @property {number} wantedLoad percent of what the workers can do
 * @property {number} load less than wanted where the rate would be more than `--max-rate`
 * @property {number} rate requests per second
 * @property {number} connections kept ones, 0 when there is one for each request
 * @property {boolean} computes whether requests use a processor while they block
 */

/**
 * @param {MixedOptions} options
 * @returns {Record<string, MixedSide>} in the order of the table
 */
function readSides(options) {
  const { corral, 'corral-settings': settings } = options;
  /** @type {Record<string, MixedSide>} */
  const known = {
    builtin: { label: 'built-in, round robin', cluster: 'builtin' },
    none: { label: 'built-in, SCHED_NONE', cluster: 'builtin', policy: 'none' },
    'reuse-port': { label: "Node's reusePort", cluster: 'builtin', reusePort: true },
    other: { label: `corral of ${corral}`, cluster: 'corral', module: path.resolve(corral) },
    corral: { label: 'corral', cluster: 'corral' },
    settings: {
      label: `corral ${settings}`,
      cluster: 'corral',
      settings: parseObject('corral-settings', settings || '{}'),
    },
  };
  const usual = Object.keys(known).filter((name) => {
    if (name === 'reuse-port') return options['reuse-port'];
    if (name === 'other') return corral !== '';
    return name !== 'settings' || settings !== '';
  });
  const names = options.sides ? readList('sides', options.sides, Object.keys(known)) : usual;
  if (names.includes('reuse-port') && !hasReusePort()) fail('reusePort wants Node 23.1 or newer');
  if (names.includes('other') && corral === '') fail('the side `other` wants --corral');
  return Object.fromEntries(names.map((name) => [name, options.control ? known.builtin : known[name]]));
}

function hasReusePort() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  return major > 23 || (major === 23 && minor >= 1);
}

/**
 * @param {MixedOptions} options
 * @returns {Scenario[]}
 */
function readScenarios(options) {
  const workloads = readList('workloads', options.workloads, Object.keys(WORKLOADS));
  const workers = readList('workers', options.workers).map(Number);
  const connections = options.connections
    .split(',')
    .map((kept) => (kept === 'closed' ? 0 : Number(readList('connections', kept)[0])));
  return workloads.flatMap((workload) =>
    workers.flatMap((count) =>
      connections.flatMap((kept) =>
        loadsOf(workload, options.loads).map((load) => scenario(workload, count, kept, load, options)),
      ),
    ),
  );
}

/**
 * @param {string} workload
 * @param {string} loads
 */
function loadsOf(workload, loads) {
  const { load, saturates } = WORKLOADS[workload];
  return saturates || loads === 'own' ? [load] : readList('loads', loads).map(Number);
}

/**
 * @param {string} workload
 * @param {number} workers
 * @param {number} connections
 * @param {number} wantedLoad
 * @param {MixedOptions} options
 * @returns {Scenario}
 */
function scenario(workload, workers, connections, wantedLoad, { cpu, 'max-rate': maxRate }) {
  // What computes needs a processor, and there may be fewer of these than workers.
  const servers = cpu ? Math.min(workers, os.availableParallelism()) : workers;
  const capacity = (servers / meanCost(WORKLOADS[workload])) * 1000;
  const rate = Math.min((capacity * wantedLoad) / 100, maxRate);
  return {
    workload,
    title: WORKLOADS[workload].title,
    workers,
    servers,
    saturates: WORKLOADS[workload].saturates ?? false,
    wantedLoad,
    load: (rate / capacity) * 100,
    rate,
    connections,
    computes: cpu,
  };
}

module.exports = { readScenarios, readSides };
