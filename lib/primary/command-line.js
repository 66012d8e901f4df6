'use strict';

// The command line of a worker: Node's flags, the inspector's port among them, then the program and its arguments.

const childProcess = require('node:child_process');
const url = require('node:url');

const errors = require('../errors');

/** @typedef {import('../..').ClusterSettings} Settings */

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
  // For a value that cannot be a path Node's own complaint is the right one. It comes before anything is spawned.
  if (typeof exec !== 'string' || exec.includes('\0')) childProcess.fork(exec);
  return exec;
}

module.exports = { commandLine };
