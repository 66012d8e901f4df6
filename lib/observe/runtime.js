'use strict';

// What V8 knows of itself in this process, shown to the primary in shared memory, where its metrics find it. In the primary
// and in workers alike, and only while somebody observes the cluster.

const { PerformanceObserver, constants } = require('node:perf_hooks');
const v8 = require('node:v8');

/** How often, in milliseconds. */
const INTERVAL = 1000;
const NANOSECONDS = 1e6;

/** By kind of garbage collection: what its numbers are called. @type {Map<number, string>} */
const KINDS = new Map([
  [constants.NODE_PERFORMANCE_GC_MINOR, 'minor'],
  [constants.NODE_PERFORMANCE_GC_MAJOR, 'major'],
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL, 'incremental'],
  [constants.NODE_PERFORMANCE_GC_WEAKCB, 'weak'],
]);

/**
 * @typedef {(numbers: Float64Array) => boolean} Show takes the numbers in the order of their names; returns whether more are wanted
 */

/** @type {Show | undefined} */
let show;
/** Since this process began to be observed, by the names of numbers. @type {Record<string, number>} */
const counted = {};

/**
 * Shows the numbers from now on, until they are not wanted any more. To be called again when they are.
 *
 * @param {string[]} names of the numbers
 * @param {Show} to
 */
function showRuntime(names, to) {
  const isShown = show !== undefined;
  show = to;
  if (isShown) return;
  const collections = new PerformanceObserver((list) => list.getEntries().forEach(count));
  collections.observe({ entryTypes: ['gc'] });
  const numbers = new Float64Array(names.length);
  const tell = () => {
    const now = current();
    names.forEach((name, index) => {
      numbers[index] = now[name] ?? 0;
    });
    if (show?.(numbers)) return;
    show = undefined;
    clearInterval(timer);
    collections.disconnect();
  };
  const timer = setInterval(tell, INTERVAL).unref();
  tell();
}

/** @param {any} entry of a garbage collection */
function count({ detail, duration }) {
  const kind = KINDS.get(detail.kind);
  if (kind === undefined) return;
  counted[`${kind}Collections`] = (counted[`${kind}Collections`] ?? 0) + 1;
  counted[`${kind}Time`] = (counted[`${kind}Time`] ?? 0) + duration * NANOSECONDS;
}

/** @returns {Record<string, number>} */
function current() {
  const heap = v8.getHeapStatistics();
  return {
    ...counted,
    shownAt: Date.now(),
    heapUsed: heap.used_heap_size,
    heapTotal: heap.total_heap_size,
    heapLimit: heap.heap_size_limit,
    external: heap.external_memory,
    arrayBuffers: process.memoryUsage().arrayBuffers,
  };
}

module.exports = { showRuntime };
