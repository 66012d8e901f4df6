'use strict';

// What the mixed bench prints: for each scenario a table of all sides, and whether corral reaches what it should.

const os = require('node:os');
const { formatNumber, printVerdicts } = require('./report');
const { median } = require('./stats');

/** @typedef {import('./mixed-scenarios').Scenario} Scenario */
/** @typedef {import('./pairs').Sample} Sample */
/** @typedef {import('./report').Target} Target */
/** @typedef {Record<string, string>} Labels of the sides */

/**
 * What the sides made of a scenario: of each a sample for each pair. The side 'one-queue' is calculated.
 * @typedef {Scenario & { samples: Record<string, Sample[]> }} Result
 */

/** Those without a value on any side are left out. */
const COLUMNS = [
  { name: 'short-p50', label: 'p50', digits: 2, width: 10 },
  { name: 'short-p90', label: 'p90', digits: 2, width: 10 },
  { name: 'short-p99', label: 'p99', digits: 2, width: 10 },
  { name: 'short-p999', label: 'p99.9', digits: 2, width: 10 },
  { name: 'long-p50', label: 'long p50', digits: 1, width: 10 },
  { name: 'long-p99', label: 'long p99', digits: 1, width: 10 },
  { name: 'rate', label: 'requests/s', digits: 0, width: 12 },
  { name: 'primaryCpu', label: 'primary', digits: 0, width: 9 },
  { name: 'workersCpu', label: 'workers', digits: 0, width: 9 },
  { name: 'loadCpu', label: 'load', digits: 0, width: 6 },
  { name: 'lag', label: 'late', digits: 2, width: 7 },
  { name: 'busy', label: 'busy', digits: 0, width: 6 },
  { name: 'failed', label: 'failed', digits: 0, width: 8 },
  { name: 'reopened', label: 'reopened', digits: 0, width: 10 },
];

const LEGEND = `Latency of the short requests, and of the long ones, in ms from the time at which each was due. primary, workers, load:
CPU in us for each request, of the load generator too. late: by how many ms that was late itself, p99. busy: processors in
use, %. reopened: kept connections that the servers closed.
`;

/** Beyond these a table is about the machine, and says so. */
const MAX_LAG_MS = 5;
const MAX_BUSY_PERCENT = 90;

/** p99 of the short requests is to be at most so much of the others'. */
const TARGETS = {
  closed: { builtin: 0.5, none: 1, 'one-queue': 1.5 },
  kept: { builtin: 0.4, 'one-queue': 1.5 },
};
/** And none of these is to be worse than the built-in's. */
const PERCENTILES = ['p50', 'p90', 'p99', 'p999'];
/** With nothing to balance: requests per second, of whom, at least so much of whose. */
const RATE_TARGETS = [
  { name: 'settings', of: 'corral', least: 0.95 },
  { name: 'corral', of: 'other', least: 0.98 },
];

/** @param {Sample[]} samples @param {string} name */
function medianOf(samples, name) {
  return median(samples.map((sample) => sample[name] ?? NaN));
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

/** @param {Scenario} scenario */
function describe(scenario) {
  const { workload, title, workers, wantedLoad, load, rate, connections, computes, saturates } = scenario;
  const less = load < wantedLoad - 0.05 ? `, bounded by --max-rate, and not ${wantedLoad} %` : '';
  const arriving = `, ${formatNumber(rate, 0)} requests/s (${formatNumber(load, 0)} % of what they can do${less})`;
  const kept = connections === 0 ? 'a connection for each request' : `${connections} kept connections`;
  return `mixed ${workload}: ${title}${computes ? ', computing' : ''}; ${workers} workers${saturates ? '' : arriving}, ${kept}`;
}

/**
 * @param {Result} result
 * @param {Labels} labels
 * @param {{ control: boolean }} options
 */
function printScenario(result, labels, options) {
  console.log(`${describe(result)}\n`);
  const medians = Object.values(mediansOf(result));
  const columns = COLUMNS.filter(({ name }) => medians.some((sample) => Number.isFinite(sample[name])));
  const names = Object.keys(result.samples);
  const labelWidth = Math.max(...names.map((name) => labels[name].length));
  console.log(row('', labelWidth, columns, ({ label }) => label));
  for (const [name, sample] of Object.entries(mediansOf(result))) {
    console.log(
      row(labels[name], labelWidth, columns, (column) => {
        const value = sample[column.name] ?? NaN;
        return Number.isNaN(value) ? '-' : formatNumber(value, column.digits);
      }),
    );
  }
  console.log('');
  const isDisturbed = (/** @type {Sample} */ { lag, busy }) => lag > MAX_LAG_MS || busy > MAX_BUSY_PERCENT;
  if (!result.saturates && medians.some(isDisturbed))
    console.log('Processors were short, or something else was running: this is not a result.\n');
  if (!options.control) printVerdicts(verdicts(result, labels));
  console.log('');
}

/**
 * @param {string} label
 * @param {number} labelWidth
 * @param {typeof COLUMNS} columns
 * @param {(column: typeof COLUMNS[0]) => string} cell
 */
function row(label, labelWidth, columns, cell) {
  return `  ${label.padEnd(labelWidth)}${columns.map((column) => cell(column).padStart(column.width)).join('')}`;
}

/**
 * @param {Result} result
 * @param {Labels} labels
 * @returns {Target[]}
 */
function verdicts(result, labels) {
  return result.saturates ? rateVerdicts(result, labels) : latencyVerdicts(result, labels);
}

/**
 * @param {Result} result
 * @param {Labels} labels
 * @returns {Target[]} of the last of the sides that are corral
 */
function latencyVerdicts({ samples, connections }, labels) {
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
      text: `p50, p90, p99, p99.9 of ${labels[judged]} at most those of ${labels[name]}`,
      met: ratios.every((ratio) => ratio <= 1),
      got: ratios.map((ratio) => `${formatNumber(ratio, 2)} x`).join(', '),
    });
  }
  return targets;
}

/**
 * @param {Result} result
 * @param {Labels} labels
 * @returns {Target[]}
 */
function rateVerdicts({ samples }, labels) {
  return RATE_TARGETS.filter(({ name, of }) => samples[name] !== undefined && samples[of] !== undefined).map(
    ({ name, of, least }) => {
      const ratio = ratioOf(samples[name], samples[of], 'rate');
      return {
        text: `requests/s of ${labels[name]} at least ${least} x those of ${labels[of]}`,
        met: ratio >= least,
        got: `${formatNumber(ratio, 3)} x`,
      };
    },
  );
}

/**
 * @param {Result[]} results
 * @param {Labels} labels
 * @param {{ json: boolean, check: boolean, control: boolean, pairs: number, seconds: number }} options
 */
function printEnd(results, labels, { json, check, control, pairs, seconds }) {
  const machine = `Node ${process.versions.node}, ${os.availableParallelism()} cores, ${os.cpus()[0]?.model ?? os.arch()}`;
  const judged = results.map((result) => (control ? [] : verdicts(result, labels)));
  if (json) {
    const scenarios = results.map((result, i) => ({
      ...result,
      medians: mediansOf(result),
      verdicts: judged[i],
    }));
    console.log(JSON.stringify({ title: 'mixed', machine, control, pairs, seconds, labels, scenarios }));
  } else {
    console.log(`${LEGEND}${machine}; medians of ${pairs} pairs of ${seconds} s`);
    if (control)
      console.log('Control: the built-in on all sides. What differs is the machine, not the code.');
  }
  if (check && judged.flat().some(({ met }) => !met)) process.exitCode = 1;
}

/** @param {Result} result @returns {Record<string, Sample>} by side */
function mediansOf({ samples }) {
  /** @type {Record<string, Sample>} */
  const bySide = {};
  for (const [name, all] of Object.entries(samples)) {
    bySide[name] = {};
    for (const measurement of Object.keys(all[0])) bySide[name][measurement] = medianOf(all, measurement);
  }
  return bySide;
}

module.exports = { printEnd, printScenario };
