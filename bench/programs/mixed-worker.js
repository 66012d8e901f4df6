'use strict';

// A worker of the mixed bench, without a word about clusters: HTTP servers whose requests say what they cost.

const http = require('node:http');

/** @typedef {import('./mixed-primary').WorkerOptions} WorkerOptions */

/** @type {WorkerOptions} */
const { servers, port, reusePort } = JSON.parse(/** @type {string} */ (process.argv[2]));

/** Longer than any run: a load balancer closes kept connections, not the servers behind it. */
const KEEP_ALIVE_MS = 120_000;

/** A sleeper wakes so much late, as a rule: the kernel's timer slack of 50 us, and the way back. */
const WAKE_UP_MS = 0.1;

const never = new Int32Array(new SharedArrayBuffer(4));

/**
 * Keeps this thread without using a processor, but for the last moments: it ends on time.
 * @param {number} milliseconds
 */
function wait(milliseconds) {
  const end = performance.now() + milliseconds;
  if (milliseconds > WAKE_UP_MS) Atomics.wait(never, 0, 0, milliseconds - WAKE_UP_MS);
  while (performance.now() < end);
}

/** @param {number} milliseconds */
function compute(milliseconds) {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

/** @type {http.RequestListener} */
function onRequest(request, response) {
  const [way, cost] = /** @type {string} */ (request.url).split('?');
  if (way === '/wait') wait(Number(cost));
  else if (way === '/compute') compute(Number(cost));
  response.end('ok');
}

/** @param {number} index @returns {Promise<number>} its port */
function listen(index) {
  const server = http.createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, onRequest);
  return new Promise((resolve) => {
    server.listen(
      { host: '127.0.0.1', port: port[index] ?? 0, ...(reusePort && { reusePort }) },
      // A TCP server: its address is no string.
      () => resolve(/** @type {import('node:net').AddressInfo} */ (server.address()).port),
    );
  });
}

Promise.all(Array.from({ length: servers }, (_, index) => listen(index))).then((ports) =>
  process.send?.({ ports }),
);

// The bench script decides when to stop, not the terminal's Ctrl-C.
process.on('SIGINT', () => {});
