'use strict';

// Pictures of what bench/mixed.js --json has measured: latency against load, on connections for each request and on kept
// ones. See README.md.

const fs = require('node:fs');
const path = require('node:path');
const { parseArgs } = require('node:util');
const { lineChart } = require('./lib/line-chart');
const { fail } = require('./lib/lists');

/** @typedef {import('./lib/line-chart').Line} Line */
/** @typedef {import('./lib/mixed-scenarios').Scenario} Scenario */
/** @typedef {import('./lib/pairs').Sample} Sample */
/** @typedef {Scenario & { medians: Record<string, Sample>, machine: string, labels: Record<string, string> }} Measured */

/** @type {Record<string, { color: string, dashed?: boolean }>} */
const STYLES = {
  builtin: { color: 'orange' },
  none: { color: 'purple' },
  'reuse-port': { color: 'pink' },
  other: { color: 'yellow' },
  corral: { color: 'blue' },
  settings: { color: 'green' },
  'one-queue': { color: 'gray', dashed: true },
};
const PERCENTILES = { p50: 'median', p90: 'p90', p99: 'p99', p999: 'p99.9' };

const USAGE = `usage: node bench/mixed-plot.js [options] FILE ...

  FILE              what bench/mixed.js --json has printed; of several the last one counts that has a side
  --workload NAME   (1-20)
  --workers N       (4)
  --kept N          connections of the second picture (64)
  --percentile P    p50, p90, p99 or p999 (p99)
  --sides a,b       of builtin, none, reuse-port, other, corral, settings, one-queue (all that the files have)
  --out DIRECTORY   where latency-closed.svg and latency-kept.svg are written (docs)`;

/** @returns {{ values: Record<string, string>, files: string[] }} */
function readArguments() {
  const defaults = { workload: '1-20', workers: '4', kept: '64', percentile: 'p99', sides: '' };
  /** @type {Record<string, { type: 'string', default: string }>} */
  const options = { out: { type: 'string', default: path.join(__dirname, '../docs') } };
  for (const [name, value] of Object.entries(defaults)) options[name] = { type: 'string', default: value };
  try {
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    if (positionals.length === 0) fail(USAGE);
    return { values: /** @type {Record<string, string>} */ (values), files: positionals };
  } catch (error) {
    return fail(`${/** @type {Error} */ (error).message}\n${USAGE}`);
  }
}

/** @param {string} file @returns {Measured[]} */
function readResults(file) {
  const { title, scenarios, machine, labels } = JSON.parse(fs.readFileSync(file, 'utf8'));
  if (title !== 'mixed') fail(`${file} is not from bench/mixed.js --json`);
  return scenarios.map((/** @type {Measured} */ scenario) => ({ ...scenario, machine, labels }));
}

/** @param {string} label a side's; settings as people write them @returns {string} */
function readable(label) {
  const settings = /^corral (\{.*\})$/.exec(label);
  if (settings === null) return label;
  const entries = Object.entries(JSON.parse(settings[1])).map(([name, value]) => `${name}: ${value}`);
  return `corral, ${entries.join(', ')}`;
}

/**
 * @param {Measured[]} scenarios of one picture
 * @param {string} percentile
 * @param {string[]} wanted sides
 * @returns {Line[]}
 */
function linesOf(scenarios, percentile, wanted) {
  return wanted.flatMap((side) => {
    /** @type {Map<number, number>} */
    const points = new Map();
    let label = side;
    for (const { load, medians, labels } of scenarios) {
      const y = medians[side]?.[`short-${percentile}`];
      if (!(y > 0)) continue;
      points.set(load, y);
      label = readable(labels[side]);
    }
    if (points.size === 0) return [];
    const ascending = [...points].sort(([a], [b]) => a - b).map(([x, y]) => ({ x, y }));
    return [{ label, points: ascending, ...STYLES[side] }];
  });
}

/**
 * @param {Measured[]} scenarios
 * @param {keyof typeof PERCENTILES} percentile
 * @param {string[]} sides
 * @param {string} connections
 */
function picture(scenarios, percentile, sides, connections) {
  const [{ title, workers, machine, computes }] = scenarios;
  const lines = linesOf(scenarios, percentile, sides);
  const ends = lines.map(({ label, points }) => {
    const { x, y } = points[points.length - 1];
    return `${label}: ${y.toPrecision(3)} ms at ${Math.round(x)} %`;
  });
  return lineChart({
    title: `What short requests wait for long ones: ${connections}`,
    subtitle: `${title}${computes ? ', computing' : ''}; ${workers} workers; ${machine}`,
    xLabel: 'load, % of what the workers can do',
    yLabel: `${PERCENTILES[percentile]} of the short requests, ms`,
    description: ends.join('; '),
    lines,
  });
}

function main() {
  const { values, files } = readArguments();
  const { percentile } = values;
  if (!(percentile in PERCENTILES)) fail(`--percentile knows no ${percentile}\n${USAGE}`);
  const sides = values.sides ? values.sides.split(',') : Object.keys(STYLES);
  for (const side of sides) if (!(side in STYLES)) fail(`--sides knows no ${side}\n${USAGE}`);
  const all = files
    .flatMap(readResults)
    .filter(({ workload, workers }) => workload === values.workload && String(workers) === values.workers);
  const pictures = [
    { name: 'latency-closed.svg', kept: 0, connections: 'a connection for each' },
    { name: 'latency-kept.svg', kept: Number(values.kept), connections: `${values.kept} kept connections` },
  ];
  fs.mkdirSync(values.out, { recursive: true });
  for (const { name, kept, connections } of pictures) {
    const scenarios = all.filter((scenario) => scenario.connections === kept);
    if (scenarios.length === 0) {
      console.error(`${name}: the files have no such runs (${connections})`);
      process.exitCode = 1;
      continue;
    }
    const file = path.join(values.out, name);
    fs.writeFileSync(
      file,
      picture(scenarios, /** @type {keyof typeof PERCENTILES} */ (percentile), sides, connections),
    );
    console.log(file);
  }
}

main();
