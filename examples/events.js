'use strict';

// Prints every event of the cluster and of its workers, sends messages both ways, and replaces what dies. Run
// it with
//
//   node examples/events.js          (PORT=3000 for another port than 8000)
//
// Each line is one event: where it was emitted, its name and its arguments, such as
//
//   cluster      fork        worker 1
//   worker 1     listening   {"addressType":4,"address":null,"port":8000}
//   in worker 1  message     {"hello":"from the primary"}
//
// Kill a worker (its pid stands in the lines of 'online') to see its 'disconnect' and 'exit', then the
// events of the one that takes its place. Ctrl-C disconnects the workers, shows that too, and ends.

const http = require('node:http');
const cluster = require('corral');

const DEFAULT_PORT = 8000;
const WORKERS = 2;
/** So that a worker that dies at its start does not keep the machine busy with forks. */
const REFORK_MILLISECONDS = 200;
/** For so long the workers may finish their requests when they are to stop. */
const DRAIN_MILLISECONDS = 5_000;

const CLUSTER_EVENTS = ['setup', 'fork', 'online', 'listening', 'message', 'disconnect', 'exit'];
const WORKER_EVENTS = ['online', 'listening', 'message', 'error', 'disconnect', 'exit'];

/** @typedef {import('corral').Worker} Worker */

/**
 * @param {string} where
 * @param {string} event
 * @param {unknown[]} values the event's arguments
 */
function log(where, event, values) {
  // A message without a handle comes with undefined in the handle's place.
  const shown = values
    .filter((value) => value !== undefined)
    .map(show)
    .join(' ');
  console.log(`${where.padEnd(12)} ${event.padEnd(11)} ${shown}`.trimEnd());
}

/** @param {unknown} value */
function show(value) {
  if (value instanceof cluster.Worker) return `worker ${value.id} (pid ${value.process.pid})`;
  if (value instanceof Error) return value.message;
  return JSON.stringify(value);
}

/** @param {Worker} worker */
function watch(worker) {
  for (const event of WORKER_EVENTS) {
    worker.on(event, (...values) => log(`worker ${worker.id}`, event, values));
  }
  worker.once('online', () => worker.send({ hello: 'from the primary' }));
}

function runPrimary() {
  let stopping = false;

  for (const event of CLUSTER_EVENTS) {
    cluster.on(event, (...values) => log('cluster', event, values));
  }
  cluster.on('exit', () => {
    if (!stopping) setTimeout(fork, REFORK_MILLISECONDS);
  });
  process.on('SIGINT', () => {
    stopping = true;
    cluster.disconnect({ drain: DRAIN_MILLISECONDS }, () =>
      log('cluster', 'all workers are disconnected', []),
    );
  });
  for (let i = 0; i < WORKERS; i++) fork();

  function fork() {
    if (!stopping) watch(cluster.fork());
  }
}

function runWorker() {
  const { id } = /** @type {Worker} */ (cluster.worker);
  const where = `in worker ${id}`;

  const server = http.createServer((request, response) => {
    process.send?.({ served: request.url, by: id });
    response.end(`worker ${id}\n`);
  });
  server.listen(Number(process.env.PORT ?? DEFAULT_PORT));

  process.on('message', (message) => {
    log(where, 'message', [message]);
    process.send?.({ hello: `from worker ${id}` });
  });
  cluster.worker?.on('leaving', ({ reason }) => log(where, 'leaving', [reason]));
  process.on('disconnect', () => log(where, 'disconnect', []));
  // A Ctrl-C in a terminal goes to the workers as well; they wait for the primary's disconnect().
  process.on('SIGINT', () => {});
}

if (cluster.isPrimary) runPrimary();
else runWorker();
