'use strict';

// What the mixed bench prints: for each scenario a table of all sides, and whether corral reaches what it should.

const os = require('node:os');
const { formatNumber, printVerdicts } = require('./report');
const { median } = require('./stats');

/** @typedef {import('./pairs').Sample} Sample */
/** @typedef {import('./report').Target} Target */

/**
 * One workload at one load, and what the sides made of it.
 *
 * @typedef {object} Scenario
 * @property {string} workload
 * @property {string} title
 * @property {number} workers
 * @property {number} servers of the queue that is calculated
 * @property {number} wantedLoad percent
 * @property {number} load percent of what the workers can do: less than wanted where --max-rate is less
 * @property {number} rate requests per second
 * @property {number} connections kept ones, 0 when there is one for each request
 * @property {boolean} computes whether requests use a processor while they block
 * @property {Record<string, Sample[]>} samples by side, one for each pair; 'one-queue' is calculated
 */

/** @typedef {{ name: string, label: string, digits: number, width: number }} Column */

const LATENCY_WIDTH = 10;

/** @type {Column[]} */
const COLUMNS = [
  { name: 'short-p50', label: 'p50', digits: 2, width: LATENCY_WIDTH },
  { name: 'short-p90', label: 'p90', digits: 2, width: LATENCY_WIDTH },
  { name: 'short-p99', label: 'p99', digits: 2, width: LATENCY_WIDTH },
  { name: 'short-p999', label: 'p99.9', digits: 2, width: LATENCY_WIDTH },
  { name: 'long-p50', label: 'long p50', digits: 1, width: 10 },
  { name: 'long-p99', label: 'long p99', digits: 1, width: 10 },
  { name: 'primaryCpu', label: 'primary', digits: 0, width: 9 },
  { name: 'workersCpu', label: 'workers', digits: 0, width: 9 },
  { name: 'loadCpu', label: 'load', digits: 0, width: 7 },
  { name: 'lag', label: 'late', digits: 2, width: 7 },
  { name: 'busy', label: 'busy', digits: 0, width: 6 },
  { name: 'failed', label: 'failed', digits: 0, width: 8 },
];

const LEGEND =
  'Latency of the short requests, and of the long ones, in ms from the time at which each was due. primary, workers,\n' +
  'load: CPU in us for each request, of the load generator too. late: by how many ms it was late itself, p99. busy:\n' +
  'processors in use, %.\n';

/** So much better than the others corral is to be, by p99 of the short requests. */
const TARGETS = {
  closed: { builtin: 0.5, none: 1, 'one-queue': 1.5 },
  kept: { builtin: 0.4, 'one-queue': 1.5 },
};
const PERCENTILES = ['p50', 'p90', 'p99', 'p999'];

/** @param {Sample[]} samples @param {string} name */
function medianOf(samples, name) {
  return median(samples.map((sample) => sample[name] ?? NaN));
}

/** @returns {string} */
function machine() {
  return `Node ${process.versions.node}, ${os.availableParallelism()} cores, ${os.cpus()[0]?.model ?? os.arch()}`;
}

/** @param {Scenario} scenario */
function describe({ workload, title, workers, wantedLoad, load, rate, connections, computes }) {
  const kind = computes ? ', computing' : '';
  const kept = connections === 0 ? 'a connection for each request' : `${connections} kept connections`;
  const less = load < wantedLoad - 0.05 ? `, for want of processors not ${wantedLoad} %` : '';
  return (
    `mixed ${workload}: ${title}${kind}; ${workers} workers, ${formatNumber(rate, 0)} requests/s ` +
    `(${formatNumber(load, 0)} % of what they can do${less}), ${kept}`
  );
}

/**
 * @param {Scenario} scenario
 * @param {Record<string, string>} labels
 * @param {{ control: boolean }} options
 */
function printScenario(scenario, labels, options) {
  console.log(`${describe(scenario)}\n`);
  const names = Object.keys(scenario.samples);
  const labelWidth = Math.max(...names.map((name) => labels[name].length));
  const line = (/** @type {string} */ label, /** @type {(column: Column) => string} */ cell) =>
    console.log(
      `  ${label.padEnd(labelWidth)}${COLUMNS.map((column) => cell(column).padStart(column.width)).join('')}`,
    );
  line('', ({ label }) => label);
  for (const name of names) {
    line(labels[name], (column) => {
      const value = medianOf(scenario.samples[name], column.name);
      return Number.isNaN(value) ? '-' : formatNumber(value, column.digits);
    });
  }
  console.log('');
  if (!options.control) printVerdicts(verdicts(scenario, labels));
  console.log('');
}

/**
 * The median of the pairs' ratios.
 * @param {Sample[]} samples
 * @param {Sample[]} others
 * @param {string} name
 */
function ratioOf(samples, others, name) {
  return median(samples.map((sample, pair) => sample[name] / others[pair][name]));
}

/**
 * @param {Scenario} scenario
 * @param {Record<string, string>} labels
 * @returns {Target[]} of the last side that is corral
 */
function verdicts({ samples, connections }, labels) {
  const judged = ['settings', 'corral', 'other'].find((name) => samples[name] !== undefined);
  if (judged === undefined) return [];
  /** @type {Target[]} */
  const targets = [];
  for (const [name, most] of Object.entries(connections === 0 ? TARGETS.closed : TARGETS.kept)) {
    if (samples[name] === undefined) continue;
    const ratio = ratioOf(samples[judged], samples[name], 'short-p99');
    targets.push({
      text: `p99 of ${labels[judged]} at most ${most} x that of ${labels[name]}`,
      met: ratio <= most,
      got: `${formatNumber(ratio, 2)} x`,
    });
  }
  for (const name of ['builtin', 'none']) {
    if (samples[name] === undefined) continue;
    const ratios = PERCENTILES.map((percentile) =>
      ratioOf(samples[judged], samples[name], `short-${percentile}`),
    );
    targets.push({
      text: `p50, p90, p99 and p99.9 of ${labels[judged]} at most those of ${labels[name]}`,
      met: ratios.every((ratio) => ratio <= 1),
      got: ratios.map((ratio) => `${formatNumber(ratio, 2)} x`).join(', '),
    });
  }
  return targets;
}

/**
 * @param {Scenario[]} scenarios
 * @param {Record<string, string>} labels
 * @param {{ json: boolean, check: boolean, control: boolean, pairs: number, seconds: number }} options
 */
function printEnd(scenarios, labels, { json, check, control, pairs, seconds }) {
  const judged = control ? [] : scenarios.map((scenario) => verdicts(scenario, labels));
  if (json) {
    const results = scenarios.map((scenario, i) => ({
      ...scenario,
      medians: medians(scenario),
      verdicts: judged[i] ?? [],
    }));
    console.log(
      JSON.stringify({ title: 'mixed', machine: machine(), control, pairs, seconds, labels, results }),
    );
  } else {
    console.log(`${LEGEND}${machine()}; medians of ${pairs} pairs of ${seconds} s`);
    if (control)
      console.log('Control: the built-in on all sides. What differs is the machine, not the code.');
  }
  if (check && judged.flat().some(({ met }) => !met)) process.exitCode = 1;
}

/** @param {Scenario} scenario @returns {Record<string, Sample>} by side */
function medians({ samples }) {
  /** @type {Record<string, Sample>} */
  const bySide = {};
  for (const [name, all] of Object.entries(samples)) {
    bySide[name] = {};
    for (const measurement of Object.keys(all[0])) bySide[name][measurement] = medianOf(all, measurement);
  }
  return bySide;
}

module.exports = { printEnd, printScenario };
