'use strict';

// When `send` answers false: at one number of bytes that the other side has not read.

const assert = require('node:assert/strict');
const { setImmediate: nextTurn } = require('node:timers/promises');

const { endAll, hasSettled, message, next, until } = require('../../helpers/events');
const { stop } = require('../../helpers/proc');

const BOUND = 256 * 1024;
const BOTH = ['json', 'advanced'];

/** @param {any} worker has all of them when it answers */
function ended(worker) {
  const answer = message(worker, (value) => value === 'the end');
  worker.send('the end');
  return answer;
}

/** What a worker does: it says when the last one has come. */
function answerTheEnd() {
  process.on('message', (value) => value === 'the end' && process.send('the end'));
}

/**
 * @param {any} cluster
 * @param {any} worker
 * @returns {number} how many bytes of messages it has been sent
 */
function bytesSent(cluster, worker) {
  return cluster.stats().workers.find((/** @type {any} */ { id }) => id === worker.id).bytesSent;
}

/**
 * Sends to a worker that reads nothing, until that answers false.
 *
 * @param {any} cluster
 * @param {any} worker
 * @param {number} size of a message
 * @param {() => unknown} between two messages
 */
async function assertBound(cluster, worker, size, between) {
  await stop(worker);
  const body = 'x'.repeat(size);
  const before = bytesSent(cluster, worker);
  let sent = size;
  for (; worker.send(body); sent += size) {
    assert.ok(sent < 64 * BOUND, 'it never answers false');
    await between();
  }
  const bytes = bytesSent(cluster, worker) - before;
  // The last message reaches it, with what it has beside its text.
  assert.ok(bytes >= BOUND && bytes < BOUND + size + 64, `${size}: ${bytes}`);
  worker.process.kill('SIGCONT');
  await ended(worker);
}

/**
 * @param {any} cluster
 * @param {any} worker
 */
async function assertOneBound(cluster, worker) {
  for (const size of [20, 130, 1000, 20_000]) {
    await assertBound(cluster, worker, size, () => {});
    await assertBound(cluster, worker, size, nextTurn);
  }
}

module.exports = {
  'send answers false at one bound, in one turn and in many': {
    modes: BOTH,
    linux: true,
    async primary({ cluster, fork }) {
      const worker = fork();
      await until(() => hasSettled(cluster, worker));
      await assertOneBound(cluster, worker);
      await endAll(cluster);
    },
    worker: answerTheEnd,
  },

  'and at the same to a worker that has not loaded corral': {
    modes: BOTH,
    linux: true,
    async primary({ cluster, fork }) {
      const worker = fork('', { CORRAL_TEST_PLAIN: '1' });
      await next(worker, 'online');
      await assertOneBound(cluster, worker);
      await endAll(cluster);
    },
    worker: answerTheEnd,
  },
};
