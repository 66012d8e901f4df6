'use strict';

// `SCHED_LEAST`: to the worker with the fewest open connections that is not blocked.

const assert = require('node:assert/strict');
const net = require('node:net');

const { connect } = require('../../helpers/clients');
const { endAll, next, portOf, until } = require('../../helpers/events');
const { block, blockWhenTold, lanesOpen, release, times } = require('../../helpers/lanes');
const { waitsForEvents } = require('../../helpers/proc');

const PLAIN = { CORRAL_TEST_PLAIN: '1' };

/** A server that says who it is and keeps the connection. */
function hold({ cluster }) {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.write(`${cluster.worker.id}`);
  });
  return server.listen(0, '127.0.0.1');
}

/** As `hold`, and blocks when it is told to. */
function holdAndBlock(context) {
  const server = blockWhenTold(context);
  server.removeAllListeners('connection');
  server.on('connection', (/** @type {any} */ socket) => {
    socket.on('error', () => {});
    socket.write(`${context.cluster.worker.id}`);
  });
}

/** @param {number} port @returns {Promise<{ socket: any, id: number }>} a connection that stays open, and whose it is */
async function open(port) {
  const socket = connect(port);
  const id = Number(await next(socket, 'data'));
  return { socket, id };
}

/** @param {any} cluster @returns {Record<string, number | null>} open connections by worker */
function openOf(cluster) {
  const [{ load }] = cluster.stats().servers;
  return Object.fromEntries(load.map((/** @type {any} */ { worker, open }) => [worker, open]));
}

/** @param {any} cluster */
const total = (cluster) =>
  Object.values(openOf(cluster)).reduce((sum, open) => Number(sum) + Number(open), 0);

/** How many connections may be needed until workers have as many as they should, some having been busy when it was their turn. */
const MANY = 100;

/** Connections that stay open, and whose they are. */
class Held {
  opened = /** @type {{ socket: any, id: number }[]} */ ([]);
  /** How many it has ever opened. */
  count = 0;

  /** @param {any} cluster @param {number} port */
  constructor(cluster, port) {
    this.cluster = cluster;
    this.port = port;
  }

  /** @param {number} id of a worker */
  of(id) {
    return this.opened.filter((one) => one.id === id);
  }

  async openOne() {
    // One that is still busy with the last one is passed over, however few it has.
    const workers = Object.values(this.cluster.workers);
    await until(() => workers.every(({ process: child }) => waitsForEvents(child.pid)));
    this.opened.push(await open(this.port));
    this.count++;
  }

  /** Opens one after the other until workers 1, 2 and so on have them in proportion to these shares. @param {number[]} shares */
  async openUntilShared(...shares) {
    const before = this.count;
    const rounds = shares.map((share, place) => () => this.of(place + 1).length / share);
    do {
      await this.openOne();
      const have = JSON.stringify(rounds.map((round) => round()));
      assert.ok(this.count - before <= MANY, `${have} after ${this.count - before}`);
    } while (rounds.some((round) => round() !== rounds[0]()));
    await this.untilCounted(shares.length);
  }

  /** Clients hear of their workers before these have counted them. @param {number} workers */
  async untilCounted(workers) {
    const isCounted = (/** @type {number} */ id) => openOf(this.cluster)[id] === this.of(id).length;
    await until(() => times(workers).every((_, place) => isCounted(place + 1)));
  }

  /** @param {number} id @param {number} count how many of that worker's are closed */
  async close(id, count) {
    const closed = new Set(this.of(id).slice(0, count));
    this.opened = this.opened.filter((one) => !closed.has(one));
    for (const { socket } of closed) socket.destroy();
    await until(() => total(this.cluster) === this.opened.length);
  }
}

/** @param {any} cluster @param {number} port until all workers show what they have, which is nothing */
async function untilShown(cluster, port) {
  await until(async () => {
    const { socket } = await open(port);
    socket.destroy();
    return Object.values(openOf(cluster)).every((count) => count !== null);
  });
  await until(() => total(cluster) === 0);
}

/** @param {number} port @param {number} count one after the other */
async function openSeveral(port, count) {
  const opened = [];
  for (let number = 0; number < count; number++) opened.push(await open(port));
  return opened;
}

module.exports = {
  'connections that last are as many everywhere, and who has lost some gets the next': {
    linux: true,
    async primary({ cluster, fork }) {
      cluster.schedulingPolicy = cluster.SCHED_LEAST;
      assert.equal(cluster.SCHED_LEAST, 101);
      const workers = [fork(), fork(), fork()];
      const [port] = await Promise.all(workers.map(portOf));
      await lanesOpen(cluster);
      const [{ policy }] = cluster.stats().servers;
      assert.equal(policy, 'least');
      await untilShown(cluster, port);

      const held = new Held(cluster, port);
      while (held.of(2).length < 20) await held.openOne();
      await held.openUntilShared(1, 1, 1);
      await held.close(2, 20);
      await held.openUntilShared(1, 1, 1);

      // Weights count what is open.
      workers[0].weight = 2;
      await held.openUntilShared(2, 1, 1);
      const [{ load }] = cluster.stats().servers;
      assert.deepEqual(load.map((/** @type {any} */ { worker, weight }) => [worker, weight]).sort(), [
        [1, 2],
        [2, 1],
        [3, 1],
      ]);
      const decisions = load.reduce(
        (/** @type {number} */ sum, /** @type {any} */ one) => sum + one.decisions,
        0,
      );
      assert.ok(decisions >= held.count);
      for (const id of [1, 2, 3]) await held.close(id, held.of(id).length);
      await until(() => total(cluster) === 0);
      await endAll(cluster);
    },
    worker: hold,
  },

  'a blocked worker gets nothing, however few it has': {
    linux: true,
    async primary({ cluster, fork, scratch }) {
      cluster.setupPrimary({ schedulingPolicy: 'least' });
      const workers = [fork(), fork()];
      const [port] = await Promise.all(workers.map(portOf));
      await lanesOpen(cluster);
      await untilShown(cluster, port);
      await block(scratch, workers[0]);
      const opened = await openSeveral(port, 10);
      assert.deepEqual(new Set(opened.map(({ id }) => id)), new Set([2]));
      release(scratch, workers[0]);
      await until(async () => {
        opened.push(await open(port));
        return opened.at(-1)?.id === 1;
      });
      for (const { socket } of opened) socket.destroy();
      await endAll(cluster);
    },
    worker: holdAndBlock,
  },

  'plain workers, which do not tell, take turns while they are idle': {
    linux: true,
    async primary({ cluster, fork }) {
      cluster.setupPrimary({ schedulingPolicy: 'least' });
      const workers = [fork('', PLAIN), fork('', PLAIN)];
      const [port] = await Promise.all(workers.map(portOf));
      const opened = await openSeveral(port, 10);
      assert.deepEqual(new Set(opened.map(({ id }) => id)), new Set([1, 2]));
      assert.deepEqual(openOf(cluster), { 1: null, 2: null });
      for (const { socket } of opened) socket.destroy();
      await endAll(cluster);
    },
    worker: hold,
  },
};
