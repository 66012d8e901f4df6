'use strict';

// The engines of our own. The one in memory is in this process, or in the primary of its cluster; the one in a file is in
// the process that has the file's lock, and when that has ended, in the next one that wants it.

const fs = require('node:fs');
const path = require('node:path');
const errors = require('../errors');
const { BUS_CHANNEL } = require('../protocol');
const { MEMORY, addon, connectFile, fileName, stopServing, users } = require('./serving');

/** @typedef {import('./client').Engine} Engine */

/** Typed as it is and not as its module. */
const cluster = /** @type {any} */ (require('node:cluster'));

/** How long a worker waits for its primary to serve a file, in milliseconds: it can do so itself. */
const PRIMARY_TIMEOUT = 1_000;

/** corral's cluster object, if this process is a worker whose primary runs corral. */
function ownCluster() {
  if (!cluster.isWorker || !process.connected) return undefined;
  const corral = /** @type {any} */ (require('../../index'));
  return corral.native ? corral : undefined;
}

/**
 * Asks the primary to serve.
 *
 * @param {any} corral
 * @param {{ file?: string }} wanted
 * @param {number} [timeout]
 * @returns {Promise<{ path: string }>}
 */
function askPrimary(corral, wanted, timeout) {
  return corral.channel(BUS_CHANNEL).request('primary', wanted, { timeout });
}

/** @returns {Engine} in memory */
function memoryEngine() {
  const binding = addon();
  const corral = ownCluster();
  if (cluster.isWorker && corral === undefined) {
    throw errors.busUnavailable(
      'the primary of this worker does not run corral, and so has no engine in memory',
    );
  }
  const descriptor = async () => {
    if (corral === undefined) return binding.connectMemory();
    const { path: place } = await askPrimary(corral, {});
    return binding.connectFile(place);
  };
  return {
    name: MEMORY,
    connect: descriptor,
    open: descriptor,
    release() {},
    renounce() {},
  };
}

/**
 * One name for one file, whatever links lead to it.
 *
 * @param {string} file
 */
function resolve(file) {
  try {
    return fs.realpathSync(file);
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ENOENT') throw error;
    return path.join(fs.realpathSync(path.dirname(file)), path.basename(file));
  }
}

/**
 * @param {string} given
 * @returns {Engine} in a file
 */
function fileEngine(given) {
  addon();
  const file = resolve(given);
  const corral = ownCluster();
  users.set(file, (users.get(file) ?? 0) + 1);
  let isOver = false;
  const descriptor = async () => {
    // The primary lives as long as the cluster does. It need not answer: then another process serves.
    if (corral !== undefined) await askPrimary(corral, { file }, PRIMARY_TIMEOUT).catch(() => {});
    if (isOver) throw errors.busClosed();
    return connectFile(file);
  };
  return {
    name: fileName(file),
    // Also when this one is over, and another uses the file.
    connect: () => connectFile(file),
    open: descriptor,
    release() {
      if (isOver) return;
      isOver = true;
      const left = (users.get(file) ?? 1) - 1;
      if (left > 0) {
        users.set(file, left);
        return;
      }
      users.delete(file);
      stopServing(file);
    },
    renounce() {
      stopServing(file);
    },
  };
}

module.exports = { fileEngine, memoryEngine };
