'use strict';

// `cluster.settings`: what the program has set with setupPrimary, which may be called again and again.

const errors = require('../errors');
const { checkPolicy } = require('./policy');

/** @typedef {import('../..').ClusterSettings} ClusterSettings */

/** What `settings.keepAlive` may be. The first is the default. */
const KEEP_ALIVE = ['stay', 'balance'];
const [, BALANCE] = KEEP_ALIVE;

class Settings {
  #cluster;
  #reactor;
  #policy;
  #onFirst;
  #isSetUp = false;

  /**
   * @param {any} cluster
   * @param {import('./reactor').PrimaryReactor} reactor
   * @param {import('./policy').SchedulingPolicy} policy
   * @param {() => void} onFirst called with the first setupPrimary, or fork
   */
  constructor(cluster, reactor, policy, onFirst) {
    this.#cluster = cluster;
    this.#reactor = reactor;
    this.#policy = policy;
    this.#onFirst = onFirst;
  }

  /** @param {ClusterSettings} [options] */
  setUp(options) {
    const cluster = this.#cluster;
    const settings = merge(cluster.settings, options);
    cluster.settings = settings;
    process.nextTick(() => cluster.emit('setup', settings));
    this.#reactor.configure(limits(settings));
    if (!this.#isSetUp) {
      this.#isSetUp = true;
      this.#policy.freeze();
      this.#onFirst();
    }
    this.#policy.apply(settings.schedulingPolicy);
  }
}

/**
 * The settings after one more call of setupPrimary.
 *
 * @param {ClusterSettings} current
 * @param {ClusterSettings} [options]
 * @returns {ClusterSettings}
 */
function merge(current, options) {
  const settings = {
    args: process.argv.slice(2),
    exec: process.argv[1],
    execArgv: process.execArgv,
    silent: false,
    ...current,
    ...options,
  };
  checkCount('settings.maxPendingConnections', settings.maxPendingConnections, 2 ** 31 - 1);
  checkCount('settings.maxFrameSize', settings.maxFrameSize, 2 ** 32 - 1);
  checkPolicy(settings.schedulingPolicy);
  checkOneOf('settings.keepAlive', settings.keepAlive, KEEP_ALIVE);
  // Every process of a profiled cluster needs a log of its own: the addresses in it are those of its own memory.
  // It may be of any type here: a fork complains of what is no array, as the built-in's does.
  const has = (/** @type {string} */ start) =>
    Array.prototype.some.call(settings.execArgv, (argument) => `${argument}`.startsWith(start));
  if (has('--prof') && !has('--logfile=')) settings.execArgv = [...settings.execArgv, '--logfile=v8-%p.log'];
  return settings;
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {number} most
 */
function checkCount(name, value, most) {
  if (value === undefined) return;
  if (typeof value !== 'number') throw errors.invalidArgType(name, 'of type number', value);
  if (!Number.isInteger(value)) throw errors.outOfRange(name, 'an integer', value);
  if (value < 1 || value > most) throw errors.outOfRange(name, `>= 1 && <= ${most}`, value);
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {string[]} known
 */
function checkOneOf(name, value, known) {
  if (value !== undefined && !known.includes(/** @type {string} */ (value))) {
    throw errors.invalidArgValue(name, value, `must be one of: ${known.map((one) => `'${one}'`).join(', ')}`);
  }
}

/** @param {ClusterSettings} settings those that the core has to know; an undefined one has the core's default */
function limits({ maxPendingConnections, maxFrameSize, keepAlive }) {
  return {
    maxPendingConnections,
    maxFrameSize,
    balanceKept: keepAlive === BALANCE,
  };
}

module.exports = { Settings };
