'use strict';

// Requests that differ in cost: what the short ones wait for the long ones on each side, and what they would wait in
// one queue. See README.md.

const os = require('node:os');
const path = require('node:path');
const { fail, parseObject, readList } = require('./lib/lists');
const { withMixedProgram } = require('./lib/mixed-program');
const { printEnd, printScenario } = require('./lib/mixed-report');
const { oneQueue } = require('./lib/one-queue');
const { OpenLoopGenerator } = require('./lib/open-loop');
const { readOptions } = require('./lib/options');
const { progress } = require('./lib/pairs');
const { cpuTime, processorTicks } = require('./lib/proc');
const { latencySummary } = require('./lib/stats');
const { WORKLOADS, meanCost, schedule, serverCount } = require('./lib/workloads');

/** @typedef {import('./lib/mixed-program').MixedProgram} MixedProgram */
/** @typedef {import('./lib/mixed-program').MixedSide} MixedSide */
/** @typedef {import('./lib/mixed-report').Scenario} Scenario */
/** @typedef {import('./lib/pairs').Sample} Sample */

const WARM_UP_SECONDS = 1;

const options = readOptions({
  seconds: 6,
  workloads: '1-20',
  workers: '4',
  loads: 'own',
  connections: 'closed',
  sides: '',
  'reuse-port': false,
  corral: '',
  'corral-settings': '',
  cpu: false,
  plain: false,
  seed: 1,
  'max-rate': 1500 * os.availableParallelism(),
});

/** @returns {Record<string, MixedSide>} those that are measured, in this order */
function readSides() {
  /** @type {Record<string, MixedSide>} */
  const known = {
    builtin: { label: 'built-in, round robin', cluster: 'builtin' },
    none: { label: 'built-in, SCHED_NONE', cluster: 'builtin', policy: 'none' },
    'reuse-port': { label: "Node's reusePort", cluster: 'builtin', reusePort: true },
    corral: { label: 'corral', cluster: 'corral' },
    other: { label: `corral of ${options.corral}`, cluster: 'corral', module: path.resolve(options.corral) },
    settings: {
      label: `corral ${options['corral-settings']}`,
      cluster: 'corral',
      settings: parseObject('corral-settings', options['corral-settings'] || '{}'),
    },
  };
  const usual = [
    'builtin',
    'none',
    ...(options['reuse-port'] ? ['reuse-port'] : []),
    ...(options.corral ? ['other'] : []),
    'corral',
    ...(options['corral-settings'] ? ['settings'] : []),
  ];
  if (options['reuse-port'] && !hasReusePort()) fail('--reuse-port wants Node 23.1 or newer');
  const names = options.sides ? readList('sides', options.sides, Object.keys(known)) : usual;
  /** @type {Record<string, MixedSide>} */
  const sides = {};
  for (const name of names) sides[name] = options.control ? known.builtin : known[name];
  return sides;
}

function hasReusePort() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  return major > 23 || (major === 23 && minor >= 1);
}

/** What each side is measured with, in each pair with another seed. @returns {Scenario[]} */
function readScenarios() {
  const workloads = readList('workloads', options.workloads, Object.keys(WORKLOADS));
  const workers = readList('workers', options.workers).map(Number);
  const connections = readList('connections', options.connections, ['closed']);
  return workloads.flatMap((workload) =>
    workers.flatMap((count) =>
      loadsOf(workload).flatMap((load) =>
        connections.map((kept) => scenario(workload, count, load, kept === 'closed' ? 0 : Number(kept))),
      ),
    ),
  );
}

/** @param {string} workload @returns {number[]} */
function loadsOf(workload) {
  const own = WORKLOADS[workload].load;
  return options.loads === 'own' ? [own] : readList('loads', options.loads).map(Number);
}

/**
 * @param {string} workload
 * @param {number} workers
 * @param {number} wantedLoad percent
 * @param {number} connections kept ones, 0 when there is one for each request
 * @returns {Scenario}
 */
function scenario(workload, workers, wantedLoad, connections) {
  // What computes needs a processor, and there may be fewer of these than workers.
  const servers = options.cpu ? Math.min(workers, os.availableParallelism()) : workers;
  const capacity = (servers / meanCost(WORKLOADS[workload])) * 1000;
  const rate = Math.min((capacity * wantedLoad) / 100, options['max-rate']);
  return {
    workload,
    title: WORKLOADS[workload].title,
    workers,
    servers,
    wantedLoad,
    load: (rate / capacity) * 100,
    rate,
    connections,
    computes: options.cpu,
    samples: {},
  };
}

/** @param {Scenario} scenario @param {number} pair */
function arrivalsOf({ workload, rate }, pair) {
  return { workload, rate, seconds: WARM_UP_SECONDS + options.seconds, seed: options.seed + pair };
}

/**
 * @param {(readonly import('./lib/open-loop-process').Summary[])} latencies by kind
 * @returns {Sample}
 */
function latencySample([short, long]) {
  /** @type {Sample} */
  const sample = {};
  for (const name of /** @type {const} */ (['p50', 'p90', 'p99', 'p999'])) {
    sample[`short-${name}`] = short[name];
    if (long !== undefined) sample[`long-${name}`] = long[name];
  }
  return sample;
}

/**
 * The same load in one queue.
 * @param {Scenario} scenario
 * @param {number} pair
 */
function calculate(scenario, pair) {
  const { times, kinds, costs } = schedule(arrivalsOf(scenario, pair));
  const latencies = oneQueue({ times, costs, servers: scenario.servers });
  const counted = [...latencies.keys()].filter((i) => times[i] >= WARM_UP_SECONDS * 1000);
  return latencySample(
    WORKLOADS[scenario.workload].kinds.map((_, kind) =>
      latencySummary(counted.filter((i) => kinds[i] === kind).map((i) => latencies[i])),
    ),
  );
}

/**
 * @param {Scenario} scenario
 * @param {number} pair
 * @param {MixedProgram} program
 * @param {OpenLoopGenerator} load
 * @returns {Promise<Sample>}
 */
async function measure(scenario, pair, program, load) {
  const { busy, total } = processorTicks();
  const primary = cpuTime(program.pid);
  const workers = sum(program.pids.map(cpuTime));
  const generator = cpuTime(load.pid);
  const { completed, failed, unanswered, dropped, latencies, lag } = await load.run({
    arrivals: arrivalsOf(scenario, pair),
    warmUp: WARM_UP_SECONDS,
    ports: program.ports,
    computes: scenario.computes,
  });
  const ticks = processorTicks();
  return {
    ...latencySample(latencies),
    lag: lag.p99,
    failed: failed + unanswered + dropped,
    primaryCpu: (cpuTime(program.pid) - primary) / completed,
    workersCpu: (sum(program.pids.map(cpuTime)) - workers) / completed,
    loadCpu: (cpuTime(load.pid) - generator) / completed,
    busy: ((ticks.busy - busy) / (ticks.total - total)) * 100,
  };
}

/** @param {number[]} values */
function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

/**
 * In which order the sides have their turns: each is first, and each follows each other one.
 * @param {string[]} names
 * @param {number} pair
 */
function orderOf(names, pair) {
  const first = pair % names.length;
  const order = [...names.slice(first), ...names.slice(0, first)];
  return pair % 2 === 0 ? order : order.reverse();
}

/**
 * @param {Scenario} scenario
 * @param {Record<string, MixedSide>} sides
 * @param {OpenLoopGenerator} load
 */
async function runScenario(scenario, sides, load) {
  const { workload, workers, samples } = scenario;
  for (const name of ['one-queue', ...Object.keys(sides)]) samples[name] = [];
  const servers = serverCount(WORKLOADS[workload]);
  for (let pair = 0; pair < options.pairs; pair++) {
    for (const name of orderOf(Object.keys(sides), pair)) {
      if (!options.json) progress(`${workload}, pair ${pair + 1} of ${options.pairs}, ${name}`);
      const sample = await withMixedProgram(
        sides[name],
        { lane: !options.plain, servers, workers },
        (program) => measure(scenario, pair, program, load),
      );
      samples[name].push(sample);
    }
    samples['one-queue'].push(calculate(scenario, pair));
  }
  if (!options.json) progress('');
}

async function main() {
  const sides = readSides();
  const scenarios = readScenarios();
  const load = new OpenLoopGenerator();
  /** @type {Record<string, string>} */
  const labels = { 'one-queue': 'one queue, calculated' };
  for (const [name, { label }] of Object.entries(sides)) labels[name] = label;
  try {
    for (const scenario of scenarios) {
      await runScenario(scenario, sides, load);
      if (!options.json) printScenario(scenario, labels, options);
    }
  } finally {
    await load.stop();
  }
  printEnd(scenarios, labels, options);
}

main();
