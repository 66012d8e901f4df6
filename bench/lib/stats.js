'use strict';

/**
 * The q-quantile (0 to 1) by the nearest rank, NaN of nothing.
 * @param {ArrayLike<number>} values in any order
 * @param {number} q
 */
function quantile(values, q) {
  const sorted = Float64Array.from(values).sort();
  if (sorted.length === 0) return NaN;
  const rank = Math.ceil(q * sorted.length) - 1;
  return sorted[Math.min(sorted.length - 1, Math.max(0, rank))];
}

/**
 * The median; of an even number of values the mean of the middle two.
 * @param {ArrayLike<number>} values
 */
function median(values) {
  const sorted = Float64Array.from(values).sort();
  if (sorted.length === 0) return NaN;
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * What the tables show of latencies.
 * @param {ArrayLike<number>} values
 */
function latencySummary(values) {
  const sorted = Float64Array.from(values).sort();
  const at = (/** @type {number} */ q) =>
    sorted.length === 0
      ? NaN
      : sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))];
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1) };
}

/**
 * How far the most and the least are apart, in percent of an even share.
 * @param {number[]} counts
 */
function apart(counts) {
  const even = counts.reduce((sum, count) => sum + count) / counts.length;
  return ((Math.max(...counts) - Math.min(...counts)) / even) * 100;
}

module.exports = { apart, latencySummary, median, quantile };
