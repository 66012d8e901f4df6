'use strict';

// The process of a worker: its environment, the descriptors that it inherits, and Node's own `spawn`.

const childProcess = require('node:child_process');
const fs = require('node:fs');

const errors = require('../errors');
const { LANE_FD_VARIABLE, LANE_VARIABLE, PRIMARY_VARIABLE, writeLane, writePrimary } = require('../protocol');
const { commandLine } = require('./command-line');

/** @typedef {import('../..').ClusterSettings} Settings */

/**
 * @param {import('./policy').SchedulingPolicy} policy
 * @returns {string} why workers get no lanes; empty if they do
 */
function whyNoLane(policy) {
  if (process.env[LANE_VARIABLE] === '0') return `${LANE_VARIABLE}=0 is set`;
  if (process.platform === 'darwin') return 'macOS lacks the kind of socket that it takes';
  return policy.acceptsInPrimary ? '' : 'the workers accept connections themselves';
}

/**
 * @param {import('./reactor').PrimaryReactor} reactor
 * @param {number} id
 * @param {Settings} settings
 * @param {{ env: NodeJS.ProcessEnv | undefined, advanced: boolean, hasLane: boolean }} options
 * @returns {childProcess.ChildProcess}
 */
function spawn(reactor, id, settings, { env, advanced, hasLane }) {
  const { cwd, windowsHide, uid, gid, serialization, detached, signal, killSignal } = /** @type {any} */ (
    settings
  );
  const command = commandLine(settings);
  const { stdio, slot } = stdioOf(settings);
  /** @type {NodeJS.ProcessEnv} */
  const workerEnv = {
    ...process.env,
    ...env,
    NODE_UNIQUE_ID: `${id}`,
    NODE_CHANNEL_FD: `${slot}`,
    NODE_CHANNEL_SERIALIZATION_MODE: advanced ? 'advanced' : 'json',
    [PRIMARY_VARIABLE]: writePrimary(),
  };
  stdio[slot] = reactor.openChannel(id, advanced);
  // The last place, behind all that the program has given a meaning to.
  const laneSlot = stdio.length;
  try {
    if (hasLane) {
      const fd = reactor.openLane(id);
      stdio.push(fd);
      const { ino } = fs.fstatSync(fd);
      workerEnv[LANE_FD_VARIABLE] = writeLane({ descriptor: laneSlot, inode: ino, advanced });
    }
    const options = {
      cwd,
      env: workerEnv,
      stdio,
      windowsHide,
      uid,
      gid,
      serialization,
      detached,
      signal,
      killSignal,
    };
    const child = childProcess.spawn(process.execPath, command, { ...options, shell: false });
    // The program sees no lane among its streams.
    if (child.stdio) /** @type {any[]} */ (child.stdio).length = laneSlot;
    return child;
  } catch (error) {
    reactor.abandonChannel(id);
    throw error;
  }
}

/**
 * The `stdio` of a worker: the array, and which of its places is the channel's.
 *
 * @param {Settings} settings
 * @returns {{ stdio: any[], slot: number }}
 */
function stdioOf({ silent, stdio }) {
  const places = Array.isArray(stdio) ? [...stdio] : [...standard(stdio, silent), 'ipc'];
  const slot = places.indexOf('ipc');
  if (slot < 0) throw errors.ipcRequired();
  if (places.indexOf('ipc', slot + 1) >= 0) throw errors.oneIpcPipe();
  return { stdio: places, slot };
}

/**
 * @param {unknown} stdio a name for all three; anything else stands for the default
 * @param {boolean | undefined} silent
 */
function standard(stdio, silent) {
  const name = typeof stdio === 'string' ? stdio : silent ? 'pipe' : 'inherit';
  if (name === 'inherit') return [0, 1, 2];
  if (!['ignore', 'overlapped', 'pipe'].includes(name)) throw errors.invalidArgValue('stdio', stdio);
  return [name, name, name];
}

module.exports = { spawn, whyNoLane };
