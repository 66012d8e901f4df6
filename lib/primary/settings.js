'use strict';

// cluster.settings, and what a worker is spawned with because of them.

const childProcess = require('node:child_process');
const url = require('node:url');

const errors = require('../errors');

/** @typedef {import('../..').ClusterSettings} Settings */

/**
 * The settings after one more call of setupPrimary.
 *
 * @param {Settings} current
 * @param {Settings} [options]
 * @returns {Settings}
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
  // Every process of a profiled cluster needs a log of its own: the addresses in it are those of its own memory.
  // Whatever it is: what is no array is found out when something is forked, as with the built-in.
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

/** @param {Settings} settings what the core has to know of them; what is undefined has the core's default */
function limits({ maxPendingConnections, maxFrameSize }) {
  return { maxPendingConnections, maxFrameSize };
}

const INSPECT_ARGUMENT = /--inspect(?:-brk|-port)?|--debug-port/;
const MIN_PORT = 1024;
const MAX_PORT = 65535;
let inspectPortOffset = 1;

/** @param {readonly string[]} execArgv */
function usesInspector(execArgv) {
  return (
    execArgv.some((argument) => INSPECT_ARGUMENT.test(argument)) ||
    INSPECT_ARGUMENT.test(process.env.NODE_OPTIONS ?? '')
  );
}

/**
 * The next worker's inspector port: what the program says, or the primary's and as many on as there were workers.
 *
 * @param {Settings['inspectPort']} inspectPort
 */
function nextInspectPort(inspectPort) {
  if (typeof inspectPort === 'function') return checkPort(inspectPort());
  if (inspectPort !== undefined && inspectPort !== null) return checkPort(inspectPort);
  let port = process.debugPort + inspectPortOffset++;
  if (port > MAX_PORT) port = port - MAX_PORT + MIN_PORT - 1;
  return checkPort(port);
}

/** @param {unknown} port */
function checkPort(port) {
  const isNumeric = typeof port === 'number' || (typeof port === 'string' && port.trim().length > 0);
  if (!isNumeric || +port !== +port >>> 0 || +port > MAX_PORT) throw errors.badSocketPort(port);
  return +port;
}

/**
 * The command line of a worker, without the executable.
 *
 * @param {Settings} settings
 */
function commandLine(settings) {
  if (typeof settings.execArgv === 'string') throw new TypeError('execArgv is a string and no array of them');
  const execArgv = [.../** @type {string[]} */ (settings.execArgv)];
  // `inspectPort: null` is an error even where no inspector is used.
  if (/** @type {unknown} */ (settings.inspectPort) === null) throw errors.badSocketPort(null);
  if (usesInspector(execArgv)) execArgv.push(`--inspect-port=${nextInspectPort(settings.inspectPort)}`);
  return [...execArgv, modulePath(settings.exec), ...moduleArguments(settings)];
}

/** @param {Settings} settings */
function moduleArguments({ exec, args }) {
  if (args === undefined || args === null) return [];
  // Node's own complaint, before anything is spawned.
  if (typeof args !== 'object') childProcess.fork(/** @type {string} */ (exec), args);
  return Array.isArray(args) ? args : [];
}

/** @param {any} exec */
function modulePath(exec) {
  if (exec instanceof URL) return url.fileURLToPath(exec);
  // What cannot be a path: Node's own complaint about it is the right one. It comes before anything is spawned.
  if (typeof exec !== 'string' || exec.includes('\0')) childProcess.fork(exec);
  return exec;
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

module.exports = { commandLine, limits, merge, stdioOf };
