'use strict';

// What a service manager says to the process that it has started: variables that are meant for this one, and for no child of it.

const fs = require('node:fs');

const { MAX_DESCRIPTOR } = require('../util/descriptor');
const { LONGEST_TIMEOUT } = require('../util/longest-timeout');

/** The first descriptor that a service manager passes (`sd_listen_fds(3)`). */
const FIRST_DESCRIPTOR = 3;

const VARIABLES = [
  'NOTIFY_SOCKET',
  'WATCHDOG_USEC',
  'WATCHDOG_PID',
  'LISTEN_FDS',
  'LISTEN_PID',
  'LISTEN_FDNAMES',
];

/**
 * @typedef {object} Service
 * @property {string | undefined} address where the manager is told of this process
 * @property {number} watchdog how often it wants to hear, at least, in milliseconds; Infinity if it does not ask
 * @property {{ fd: number, name: string }[]} sockets that it has opened
 * @property {string[]} faults of what it has said
 */

/** @param {NodeJS.ProcessEnv} env @returns {boolean} whether a service manager has said anything, to this process or to another */
function hasManager(env) {
  return VARIABLES.some((name) => name in env);
}

/** @param {number} fd */
function isOpen(fd) {
  try {
    fs.fstatSync(fd);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code !== 'EBADF';
  }
}

/**
 * Takes it out of the environment.
 *
 * @param {NodeJS.ProcessEnv} env
 * @param {number} pid of this process
 * @param {(fd: number) => boolean} [isThere] whether a descriptor is open
 * @returns {Service}
 */
function takeService(env, pid, isThere = isOpen) {
  const { NOTIFY_SOCKET: address, WATCHDOG_USEC: usec, WATCHDOG_PID, ...listen } = env;
  /** @type {string[]} */
  const faults = [];
  const count = (/** @type {string} */ name, /** @type {string} */ text) => {
    const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (Number.isSafeInteger(number)) return number;
    faults.push(`${name} must be a whole number, and is ${JSON.stringify(text)}`);
    return 0;
  };
  let watchdog = Number.POSITIVE_INFINITY;
  // An empty one is as one that is not set.
  if (usec && (!WATCHDOG_PID || Number(WATCHDOG_PID) === pid)) {
    const asked = count('WATCHDOG_USEC', usec) / 1000;
    // Of a longer one a timer would make 1 ms.
    if (asked > 0) watchdog = Math.min(asked, LONGEST_TIMEOUT);
  }
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES = '' } = listen;
  /** @type {Service['sockets']} */
  let sockets = [];
  if (LISTEN_FDS && Number(LISTEN_PID) === pid) {
    const names = LISTEN_FDNAMES.split(':');
    const length = count('LISTEN_FDS', LISTEN_FDS);
    // As with `sd_listen_fds(3)`, all of them are there or none counts.
    const last = FIRST_DESCRIPTOR + length - 1;
    if (length > 0 && (last > MAX_DESCRIPTOR || !isThere(last))) {
      faults.push(`LISTEN_FDS is ${LISTEN_FDS}, and there is no descriptor ${last}`);
    } else {
      sockets = Array.from({ length }, (_, index) => ({
        fd: FIRST_DESCRIPTOR + index,
        name: names[index] || 'unknown',
      }));
    }
  }
  for (const name of VARIABLES) delete env[name];
  return { address: address || undefined, watchdog, sockets, faults };
}

module.exports = { hasManager, takeService };
