'use strict';

// socket.io over several workers whose clients begin with long polling, on corral's policy 'sticky' or on @socket.io/sticky over
// the built-in, as CORRAL_BENCH_SIDE says. The primary writes its port and, at its end, what was counted, as lines of JSON.

const { once } = require('node:events');
const http = require('node:http');
const { SIDE_VARIABLE, loadCluster } = require('../lib/side');

/** @type {any} */
const cluster = loadCluster();
const isOurs = process.env[SIDE_VARIABLE] === 'corral';

/** What each side's set-up takes in the primary, and in the worker. The lines between the braces are counted. */
const SETUPS = {
  corral: {
    primary() {
      cluster.setupPrimary({ schedulingPolicy: { name: 'sticky', by: { query: 'sid' } } });
    },
    /** @param {import('node:http').Server} server */
    worker(server) {
      server.listen(0, '127.0.0.1');
    },
  },
  builtin: {
    primary() {
      const { setupMaster } = require('@socket.io/sticky');
      const server = http.createServer();
      setupMaster(server, { loadBalancingMethod: 'least-connection' });
      // Without it, no connection arrives in a worker (2.0.1).
      cluster.setupPrimary({ serialization: 'advanced' });
      server.listen(0, '127.0.0.1');
      return server;
    },
    /** @param {any} _server @param {any} sockets */
    worker(_server, sockets) {
      const { setupWorker } = require('@socket.io/sticky');
      setupWorker(sockets);
    },
  },
};

/** @param {Function} part */
const linesOf = (part) =>
  part
    .toString()
    .split('\n')
    .filter((line) => !line.trim().startsWith('//')).length - 2;

async function primary() {
  const { workers: count, every } = JSON.parse(process.argv[2]);
  const side = isOurs ? SETUPS.corral : SETUPS.builtin;
  const server = /** @type {any} */ (side.primary());
  /** Who has begun a session. @type {Map<string, any>} */
  const owners = new Map();
  const killed = new Set();
  /** @type {{ missed: string, dead: Set<any> }[]} */
  const misses = [];
  let port = 0;
  async function forkOne() {
    const worker = cluster.fork();
    // @socket.io/sticky sends to a worker that has just died, which would end this process.
    worker.on('error', () => {});
    const ready = once(worker, isOurs ? 'listening' : 'message');
    worker.on('message', (/** @type {any} */ { begun, missed }) => {
      if (begun) owners.set(begun, worker);
      if (missed) misses.push({ missed, dead: new Set(killed) });
    });
    const [first] = await ready;
    if (isOurs) port = first.port;
    return worker;
  }
  const workers = await Promise.all(Array.from({ length: count }, forkOne));
  if (server) port = (server.listening || (await once(server, 'listening'))) && server.address().port;
  const pids = workers.map((worker) => worker.process.pid);
  console.log(JSON.stringify({ port, pids, lines: linesOf(side.primary) + linesOf(side.worker) }));

  let kills = 0;
  const killing = every > 0 ? setInterval(killOne, every) : undefined;
  async function killOne() {
    const place = kills % count;
    kills += 1;
    killed.add(workers[place]);
    workers[place].process.kill('SIGKILL');
    workers[place] = await forkOne();
  }
  process.on('SIGTERM', () => {
    clearInterval(killing);
    const unknown = misses.filter(
      ({ missed, dead }) => owners.has(missed) && !dead.has(owners.get(missed)),
    ).length;
    console.log(JSON.stringify({ kills, unknown, lost: misses.length - unknown }));
    for (const worker of Object.values(cluster.workers)) /** @type {any} */ (worker).process.kill('SIGKILL');
    process.exit();
  });
}

function worker() {
  const { Server } = require('socket.io');
  const server = http.createServer();
  const sockets = new Server(server);
  // What is measured. Neither side needs it.
  sockets.engine.on('connection', ({ id }) => process.send?.({ begun: id }));
  sockets.engine.on('connection_error', ({ code, context }) => {
    if (code === 1) process.send?.({ missed: context.sid });
  });
  sockets.on('connection', (socket) => socket.emit('hello'));
  (isOurs ? SETUPS.corral : SETUPS.builtin).worker(server, sockets);
  process.send?.({ ready: true });
}

if (cluster.isPrimary) primary();
else worker();
