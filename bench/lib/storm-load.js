'use strict';

// Clients that say nothing and wait for a server's first word, on schedule: a process of its own, started by reuseport.js.
// A client that is reset before it has heard anything had been accepted by nobody: the kernel ends a connection that a
// dead process had, and that has nothing unread, without a reset.

const net = require('node:net');
const { serve } = require('./remote');

/**
 * @typedef {object} StormResult
 * @property {number} answered
 * @property {number} reset established, and reset before anybody had accepted them
 * @property {number} refused never established
 * @property {number} ended accepted by a worker that was killed before it had said anything
 * @property {number} hanging neither answered nor closed 10 s after the last was started
 * @property {number[]} waits of those that were answered, in milliseconds from established to answered, in ascending order
 */

let stopped = false;

/** @param {{ port: number, rate: number }} job @returns {Promise<StormResult>} */
async function run({ port, rate }) {
  stopped = false;
  const result = {
    answered: 0,
    reset: 0,
    refused: 0,
    ended: 0,
    hanging: 0,
    waits: /** @type {number[]} */ ([]),
  };
  /** @type {Set<net.Socket>} */
  const open = new Set();
  const start = performance.now();
  for (let started = 0; !stopped; ) {
    const due = ((performance.now() - start) / 1000) * rate;
    for (; started < due; started++) open.add(connect(port, result, open));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const patience = performance.now() + 10_000;
  while (open.size > 0 && performance.now() < patience)
    await new Promise((resolve) => setTimeout(resolve, 10));
  result.hanging = open.size;
  for (const socket of open) socket.destroy();
  result.waits.sort((one, other) => one - other);
  return result;
}

/**
 * @param {number} port
 * @param {StormResult} result
 * @param {Set<net.Socket>} open
 */
function connect(port, result, open) {
  const socket = net.connect(port, '127.0.0.1');
  let since = 0;
  let isAnswered = false;
  let hasFailed = false;
  socket.on('connect', () => {
    since = performance.now();
  });
  socket.on('data', () => {
    if (isAnswered) return;
    isAnswered = true;
    result.answered++;
    result.waits.push(performance.now() - since);
  });
  socket.on('error', () => {
    hasFailed = true;
    if (isAnswered) return;
    if (since > 0) result.reset++;
    else result.refused++;
  });
  socket.on('close', () => {
    if (!open.delete(socket)) return;
    if (!isAnswered && !hasFailed) result.ended++;
  });
  return socket;
}

serve({
  run,
  stop: () => {
    stopped = true;
  },
});
