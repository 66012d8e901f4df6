'use strict';

const os = require('node:os');
const { compare } = require('./pairs');

/** @typedef {import('./pairs').Pair} Pair */
/** @typedef {import('./pairs').Comparison} Comparison */

/**
 * @typedef {object} Row
 * @property {string} name of the measurement
 * @property {string} label
 * @property {number} [digits] after the point, 0 unless given
 */

/**
 * @typedef {object} Target
 * @property {string} text what is wanted
 * @property {boolean} met
 * @property {string} got
 */

/**
 * @typedef {object} Report
 * @property {string} title
 * @property {Pair[]} pairs
 * @property {Row[]} rows
 * @property {(comparisons: Record<string, Comparison>) => Target[]} targets
 * @property {string[]} [notes]
 * @property {string} [baseline] what the other side is, if not the built-in
 */

/**
 * Prints the table and the verdicts, or all of it as JSON, and sets the exit code when that is asked for.
 * @param {Report} report
 * @param {{ json: boolean, check: boolean, control: boolean }} options
 */
function printReport({ title, pairs, rows, targets, notes = [], baseline = 'built-in' }, options) {
  /** @type {Record<string, Comparison>} */
  const comparisons = {};
  for (const { name } of rows) comparisons[name] = compare(pairs, name);
  const verdicts = options.control ? [] : targets(comparisons);
  const machine = `Node ${process.versions.node}, ${os.availableParallelism()} cores, ${os.cpus()[0]?.model ?? os.arch()}`;
  if (options.json) {
    console.log(
      JSON.stringify({ title, machine, control: options.control, comparisons, pairs, verdicts, notes }),
    );
  } else {
    console.log(`${title}\n${machine}; medians of ${pairs.length} pairs\n`);
    printTable(rows, comparisons, baseline, options.control ? baseline : 'corral');
    for (const note of notes) console.log(note);
    if (options.control)
      console.log('Control: the built-in on both sides. This spread is the machine, not the code.');
    printVerdicts(verdicts);
  }
  if (options.check && verdicts.some(({ met }) => !met)) process.exitCode = 1;
}

/**
 * @param {Row[]} rows
 * @param {Record<string, Comparison>} comparisons
 * @param {string} left
 * @param {string} right
 */
function printTable(rows, comparisons, left, right) {
  const width = Math.max(...rows.map(({ label }) => label.length));
  const line = (/** @type {string[]} */ cells) =>
    console.log(
      `  ${cells[0].padEnd(width)}  ${cells[1].padStart(10)}  ${cells[2].padStart(10)}  ${cells[3]}`,
    );
  line(['', left, right, 'ratio (min - max)']);
  for (const { name, label, digits = 0 } of rows) {
    const { builtin, corral, ratio, min, max } = comparisons[name];
    const spread = `${formatNumber(ratio, 2)} (${formatNumber(min, 2)} - ${formatNumber(max, 2)})`;
    line([label, formatNumber(builtin, digits), formatNumber(corral, digits), spread]);
  }
  console.log('');
}

/** @param {Target[]} verdicts */
function printVerdicts(verdicts) {
  for (const { text, met, got } of verdicts) console.log(`${met ? 'met   ' : 'MISSED'}  ${text}: ${got}`);
}

/**
 * @param {number} value
 * @param {number} digits
 */
function formatNumber(value, digits) {
  if (!Number.isFinite(value)) return 'n/a';
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/**
 * A target on a ratio that has to be at least so much.
 * @param {string} what
 * @param {Comparison} comparison
 * @param {number} atLeast
 * @returns {Target}
 */
function ratioTarget(what, { ratio }, atLeast) {
  return {
    text: `${what} at least ${atLeast} x the built-in`,
    met: ratio >= atLeast,
    got: `${formatNumber(ratio, 2)} x`,
  };
}

module.exports = { formatNumber, printReport, printVerdicts, ratioTarget };
