'use strict';

// Whether Node's own cluster object can become corral's: not once it has forked. Its workers would go on to come by the
// same object, and their ids would be those of other workers.

const { ChildProcess } = require('node:child_process');

const errors = require('./errors');

/** The file of Node's own primary, as a stack has it. */
const NODES_PRIMARY = 'node:internal/cluster/primary:';
/** In a stack: its title, this file's function, `setupPrimary`, and who has called that. */
const CALLER_OF_SETUP = 3;

/** Ends the fork that only asks for an id. */
const NO_FORK = new Error('corral asks for the next id');

/** @param {any} builtin Node's own cluster object, in a primary */
function hasForked(builtin) {
  // A fork begins with setupPrimary.
  if (Object.keys(builtin.settings).length === 0) return false;
  // A worker that is about to end is not listed any more.
  return Object.keys(builtin.workers).length > 0 || nextId(builtin) !== '1';
}

/**
 * The id that the next worker of Node's own cluster would have. Nothing but a fork tells it, so there is one, up to the
 * point where a process would be spawned.
 *
 * @param {any} builtin
 * @returns {string | undefined} undefined if this Node does not tell
 */
function nextId(builtin) {
  const prototype = /** @type {any} */ (ChildProcess.prototype);
  const { spawn } = prototype;
  const { settings, setupPrimary } = builtin;
  /** @type {string | undefined} */
  let id;
  prototype.spawn = (/** @type {{ envPairs?: string[] }} */ { envPairs }) => {
    id = envPairs
      ?.map((pair) => /^NODE_UNIQUE_ID=(.*)$/.exec(pair)?.[1])
      .find((found) => found !== undefined);
    throw NO_FORK;
  };
  // No 'setup' event, and no inspector port that the first real worker would then not get.
  builtin.setupPrimary = () => {};
  builtin.settings = { exec: process.execPath, args: [], execArgv: [] };
  try {
    builtin.fork();
  } catch (error) {
    if (error !== NO_FORK) throw error;
  } finally {
    prototype.spawn = spawn;
    Object.assign(builtin, { settings, setupPrimary });
  }
  return id;
}

/**
 * To be called by `setupPrimary`. Throws if it was called by the `fork` of Node's own, which a program has that took it off
 * the cluster object before corral was loaded: it would begin a second cluster.
 */
function refuseNodesFork() {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = CALLER_OF_SETUP;
  const stack = String(new Error('a stack').stack);
  Error.stackTraceLimit = stackTraceLimit;
  if (stack.split('\n')[CALLER_OF_SETUP]?.includes(NODES_PRIMARY)) throw errors.tooLate();
}

module.exports = { hasForked, refuseNodesFork };
