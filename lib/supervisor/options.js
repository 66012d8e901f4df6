'use strict';

// The options of `cluster.supervise`, checked, with what counts for those that are not given.

const os = require('node:os');

const errors = require('../errors');
const { LONGEST_TIMEOUT } = require('../util/longest-timeout');
const { integer } = require('../util/integer');

/** How many workers there may be. */
const MOST_WORKERS = 4096;

/** At how many addresses a worker may have to listen. */
const MOST_SERVERS = 4096;

/** What a worker may have to do to be ready. */
const READY = ['listening', 'message', 'online'];

/** The options that are numbers, with their defaults, in milliseconds. */
const DURATIONS = {
  readyTimeout: 60_000,
  minUptime: 1_000,
  drain: 30_000,
  idle: 5_000,
  killTimeout: 30_000,
};

/** What `recycle` may have. */
const LIMITS = ['age', 'connections', 'memory', 'hardMemory'];
const RECYCLE = [...LIMITS, 'at'];

const KNOWN = [
  'workers',
  'env',
  'ready',
  'servers',
  'surge',
  'recycle',
  'hungAfter',
  'hungSignal',
  'signals',
  'captureStderr',
  'systemd',
  ...Object.keys(DURATIONS),
];

/** In milliseconds. */
const DEFAULT_HUNG_AFTER = 30_000;

/** How often a URL is asked, in milliseconds. */
const DEFAULT_INTERVAL = 250;

/**
 * @typedef {object} Settings
 * @property {number} workers
 * @property {(slot: number) => NodeJS.ProcessEnv} env
 * @property {import('../..').Readiness} ready
 * @property {number} servers of the first worker that is ready
 * @property {0 | 1} surge how many workers more than usual there may be while one is replaced
 * @property {number} readyTimeout
 * @property {number} minUptime
 * @property {number} drain
 * @property {number} idle
 * @property {number} killTimeout
 * @property {{ age: number, connections: number, memory: number, hardMemory: number, at?: import('./cron').Cron }} recycle Infinity for never
 * @property {number} hungAfter Infinity for never
 * @property {NodeJS.Signals} hungSignal
 * @property {boolean} signals
 * @property {boolean} captureStderr
 * @property {boolean | Promise<unknown>} systemd
 */

/**
 * @param {any} [options]
 * @returns {Settings}
 */
function check(options = {}) {
  if (options === null || typeof options !== 'object')
    throw errors.invalidArgType('options', 'an object', options);
  for (const name of Object.keys(options)) {
    if (!KNOWN.includes(name))
      throw errors.invalidArgValue(`options.${name}`, options[name], `is none of: ${KNOWN.join(', ')}`);
  }
  return {
    workers: integer(options, 'workers', os.availableParallelism(), 1, MOST_WORKERS),
    env: environmentOf(options.env),
    ready: readinessOf(options.ready),
    servers: integer(options, 'servers', 1, 0, MOST_SERVERS),
    surge: /** @type {0 | 1} */ (integer(options, 'surge', 1, 0, 1)),
    ...durationsOf(options),
    recycle: recycleOf(options.recycle),
    hungAfter: hungAfterOf(options),
    hungSignal: signalOf(options.hungSignal),
    signals: flag(options, 'signals', true),
    // On a terminal whoever looks has just read the lines.
    captureStderr: flag(options, 'captureStderr', !process.stderr.isTTY),
    systemd: options.systemd instanceof Promise ? options.systemd : flag(options, 'systemd', true),
  };
}

/** @param {any} options */
function durationsOf(options) {
  const durations = Object.entries(DURATIONS).map(([name, fallback]) => [
    name,
    integer(options, name, fallback, 0, LONGEST_TIMEOUT),
  ]);
  return /** @type {typeof DURATIONS} */ (Object.fromEntries(durations));
}

/** @param {any} options @returns {number} */
function hungAfterOf(options) {
  if (options.hungAfter === Number.POSITIVE_INFINITY) return options.hungAfter;
  return integer(options, 'hungAfter', DEFAULT_HUNG_AFTER, 100, LONGEST_TIMEOUT);
}

/** @param {unknown} env @returns {Settings['env']} */
function environmentOf(env) {
  if (env === undefined) return () => ({});
  if (typeof env === 'function') return /** @type {Settings['env']} */ (env);
  if (env === null || typeof env !== 'object')
    throw errors.invalidArgType('options.env', 'an object or a function', env);
  return () => /** @type {NodeJS.ProcessEnv} */ (env);
}

/** @param {any} ready @returns {import('../..').Readiness} */
function readinessOf(ready = READY[0]) {
  if (READY.includes(ready) || typeof ready === 'function') return ready;
  if (ready === null || typeof ready !== 'object' || !('url' in ready)) {
    throw errors.invalidArgValue(
      'options.ready',
      ready,
      `must be one of: ${READY.map((one) => `'${one}'`).join(', ')}, { url }, or a function`,
    );
  }
  const { url } = ready;
  if (typeof url !== 'function' && !URL.canParse(url)) {
    throw errors.invalidArgValue('options.ready.url', url, 'must be a URL, or a function that returns one');
  }
  return { url, interval: integer(ready, 'interval', DEFAULT_INTERVAL, 1, LONGEST_TIMEOUT) };
}

/** @param {any} recycle @returns {Settings['recycle']} */
function recycleOf(recycle = {}) {
  if (recycle === null || typeof recycle !== 'object')
    throw errors.invalidArgType('options.recycle', 'an object', recycle);
  for (const name of Object.keys(recycle)) {
    if (!RECYCLE.includes(name))
      throw errors.invalidArgValue(
        `options.recycle.${name}`,
        recycle[name],
        `is none of: ${RECYCLE.join(', ')}`,
      );
  }
  const limits = LIMITS.map((name) => [
    name,
    integer(recycle, name, Number.POSITIVE_INFINITY, 1, Number.MAX_SAFE_INTEGER),
  ]);
  return /** @type {Settings['recycle']} */ ({ ...Object.fromEntries(limits), at: cronOf(recycle.at) });
}

/** @param {unknown} at @returns {import('./cron').Cron | undefined} */
function cronOf(at) {
  if (at === undefined) return undefined;
  if (typeof at !== 'string') throw errors.invalidArgType('options.recycle.at', 'of type string', at);
  try {
    // Few have it.
    return require('./cron').parseCron(at);
  } catch (error) {
    throw errors.invalidArgValue('options.recycle.at', at, /** @type {Error} */ (error).message);
  }
}

/** @param {any} signal @returns {NodeJS.Signals} */
function signalOf(signal = 'SIGTERM') {
  if (!(signal in os.constants.signals)) {
    throw errors.invalidArgValue('options.hungSignal', signal, 'must be the name of a signal');
  }
  return signal;
}

/**
 * @param {any} options
 * @param {string} name
 * @param {boolean} fallback
 * @returns {boolean}
 */
function flag(options, name, fallback) {
  const value = options[name] ?? fallback;
  if (typeof value !== 'boolean') throw errors.invalidArgType(`options.${name}`, 'of type boolean', value);
  return value;
}

module.exports = { KNOWN, RECYCLE, check };
