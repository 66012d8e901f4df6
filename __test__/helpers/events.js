'use strict';

// Waiting in programs and tests.

/** Why a worker that loads corral has no pulse, and will not have one. */
const NO_PULSE = /does not ask|cannot be read/;

/** How often something is looked at that nobody tells of. */
const POLL_INTERVAL_MS = 5;

/**
 * The next event. Unlike events.once it does not mind an 'error' in the meantime.
 *
 * @param {any} emitter
 * @param {string} name
 * @returns {Promise<any>} its first argument
 */
function next(emitter, name) {
  return new Promise((resolve) => emitter.once(name, resolve));
}

/**
 * The next message that satisfies.
 *
 * @param {any} emitter a worker, or process
 * @param {(message: any) => unknown} [wanted]
 * @returns {Promise<any>}
 */
function message(emitter, wanted = () => true) {
  return new Promise((resolve) => {
    emitter.on('message', function onMessage(/** @type {any} */ value) {
      if (!wanted(value)) return;
      emitter.removeListener('message', onMessage);
      resolve(value);
    });
  });
}

/**
 * Waits for something that has no event: what the kernel shows of a process, most of all.
 *
 * @param {() => unknown} condition or a promise of it
 */
async function until(condition) {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL_MS));
}

/**
 * Keeps this thread from everything else until something has come about.
 *
 * @param {() => unknown} condition
 */
function blockUntil(condition) {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  while (!condition()) Atomics.wait(cell, 0, 0, POLL_INTERVAL_MS);
}

/**
 * @param {any} cluster
 * @param {any} worker that loads corral
 * @returns {boolean} whether everything of it is in place that it brings along, descriptors among it
 */
function hasSettled(cluster, worker) {
  if (process.env.CORRAL_LANE === '0') return true;
  const stats = cluster.stats().workers.find((/** @type {any} */ { id }) => id === worker.id);
  return stats?.moved && (stats.idleBy === 'pulse' || NO_PULSE.test(stats.idleReason));
}

/**
 * The port of a worker's next server.
 *
 * @param {any} worker
 * @returns {Promise<number>}
 */
async function portOf(worker) {
  return (await next(worker, 'listening')).port;
}

/**
 * Disconnects all workers and waits until they have gone.
 *
 * @param {any} cluster
 */
async function endAll(cluster) {
  const exits = Object.values(cluster.workers).map((worker) => next(worker, 'exit'));
  cluster.disconnect();
  await Promise.all(exits);
}

module.exports = { blockUntil, endAll, hasSettled, message, next, portOf, until };
