'use strict';

// `cluster.profile()`: what a worker's JavaScript spends its time on.

const errors = require('../errors');

const DEFAULT_SECONDS = 5;
/** As observe/src/profiles.rs has it. */
const MAX_SECONDS = 300;

/**
 * @param {import('../primary/cluster').Primary} primary
 * @param {() => import('./observation').Observation} use gives the one that is released in the end
 * @param {any} worker
 * @param {any} options
 * @returns {Promise<object>} a .cpuprofile
 */
async function profile({ cluster }, use, worker, options) {
  if (!(worker instanceof cluster.Worker)) {
    throw errors.invalidArgType('worker', 'an instance of Worker', worker);
  }
  if (options === null || typeof options !== 'object') {
    throw errors.invalidArgType('options', 'of type object', options);
  }
  const { seconds = DEFAULT_SECONDS } = options;
  if (typeof seconds !== 'number') throw errors.invalidArgType('options.seconds', 'of type number', seconds);
  if (!(seconds > 0 && seconds <= MAX_SECONDS)) {
    throw errors.outOfRange('options.seconds', `> 0 && <= ${MAX_SECONDS}`, seconds);
  }
  const observation = use();
  try {
    return await observation.profile(worker.id, Math.ceil(seconds * 1000));
  } finally {
    observation.release();
  }
}

module.exports = { profile };
