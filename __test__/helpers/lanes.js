'use strict';

// Workers with lanes, and workers that block when they are told to.

const fs = require('node:fs');
const path = require('node:path');

const { blockUntil, until } = require('./events');
const { answerWithId } = require('./servers');

/** More than two workers may have in flight. */
const MORE_THAN_IN_FLIGHT = 140;

/** @param {any} cluster */
function laneOf(cluster, id = 1) {
  return cluster.stats().workers.find((/** @type {any} */ worker) => worker.id === id);
}

/** @param {any} cluster the workers' lanes are in use */
async function lanesOpen(cluster) {
  await until(() => cluster.stats().workers.every((/** @type {any} */ { lane }) => lane === 'lane'));
}

/** @param {any} cluster how often workers were found to be blocked */
function stallsOf(cluster) {
  const { workers } = cluster.stats();
  return workers.reduce((/** @type {number} */ sum, /** @type {any} */ { stalls }) => sum + stalls, 0);
}

/**
 * Keeps this process from everything until the file exists.
 *
 * @param {string} file
 */
function blockUntilThere(file) {
  blockUntil(() => fs.existsSync(file));
}

/**
 * A worker's program: it answers with its id, and blocks at a message until `release`.
 *
 * @param {any} context
 * @returns {import('node:net').Server}
 */
function blockWhenTold(context) {
  const { cluster, scratch } = context;
  const { id } = cluster.worker;
  const server = answerWithId(context);
  process.on('message', () => {
    fs.writeFileSync(path.join(scratch, `blocked-${id}`), '');
    blockUntilThere(path.join(scratch, `go-${id}`));
  });
  return server;
}

/**
 * @param {string} scratch
 * @param {any[]} workers that run `blockWhenTold`; they block when this returns
 */
async function block(scratch, ...workers) {
  for (const worker of workers) worker.send('block');
  for (const { id } of workers) await until(() => fs.existsSync(path.join(scratch, `blocked-${id}`)));
}

/**
 * @param {string} scratch
 * @param {any} worker that was blocked by `block`
 */
function release(scratch, { id }) {
  fs.writeFileSync(path.join(scratch, `go-${id}`), '');
}

/** @param {number} count */
function times(count) {
  return Array.from({ length: count });
}

module.exports = {
  MORE_THAN_IN_FLIGHT,
  block,
  blockUntilThere,
  blockWhenTold,
  laneOf,
  lanesOpen,
  release,
  stallsOf,
  times,
};
