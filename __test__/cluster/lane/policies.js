'use strict';

// What the scheduling policy does to workers that read their lanes.

const assert = require('node:assert/strict');

const { Clients, ask } = require('../../helpers/clients');
const { endAll, portOf, until } = require('../../helpers/events');
const {
  MORE_THAN_IN_FLIGHT,
  block,
  blockWhenTold,
  laneOf,
  lanesOpen,
  release,
  times,
} = require('../../helpers/lanes');
const { coreWaits, stop, waitsForEvents } = require('../../helpers/proc');
const { answerWithId } = require('../../helpers/servers');

const PLAIN = { CORRAL_TEST_PLAIN: '1' };

/**
 * Asks until the primary knows who is idle in these ways, in the order of the workers.
 *
 * @param {any} cluster
 * @param {number} port
 * @param {string[]} ways
 */
async function untilKnown(cluster, port, ...ways) {
  const known = () =>
    cluster
      .stats()
      .workers.map((/** @type {any} */ { idleBy }) => idleBy)
      .join();
  await until(async () => (await ask(port)).answer && known() === ways.join());
}

/**
 * Until both of these plain workers have served something, and wait for more.
 *
 * @param {any} cluster
 * @param {any[]} workers
 * @returns {Promise<number>} their port
 */
async function untilBothWait(cluster, ...workers) {
  const [port] = await Promise.all(workers.map(portOf));
  await untilKnown(cluster, port, 'kernel', 'kernel');
  await until(() =>
    workers.every(
      (worker) => laneOf(cluster, worker.id).inFlight === 0 && waitsForEvents(worker.process.pid),
    ),
  );
  return port;
}

/**
 * @param {any} cluster
 * @param {any} away gets nothing
 * @param {any} other answers, and is idle each time
 * @param {number} port
 */
async function onlyOtherIsAsked(cluster, away, other, port) {
  const had = laneOf(cluster, away.id).dispatched;
  for (const _ of times(50)) {
    await until(() => waitsForEvents(other.process.pid));
    assert.equal((await ask(port)).answer, `${other.id}`);
  }
  assert.deepEqual([laneOf(cluster, away.id).dispatched, laneOf(cluster, away.id).inFlight], [had, 0]);
}

/** @param {any} cluster until the kernel has told of none of its workers */
async function untilUntold(cluster) {
  const isUntold = (/** @type {any} */ { idleBy, idleReason }) =>
    idleBy === 'in-flight' && /^\/proc\/\d+\/sysc.ll cannot be read: ENOENT/.test(idleReason);
  await until(() => cluster.stats().workers.every(isUntold));
}

/** Fewer than the shared lane holds. */
const WAITING = 20;

/** A primary that is stopped for so long is not waited for. */
const PATIENCE_MS = 30_000;

/**
 * As `blockWhenTold`, but the second worker stops its primary when it is released, until it has what waits.
 *
 * @param {any} context
 */
function stopPrimaryWhenReleased(context) {
  const { cluster } = context;
  const primary = process.ppid;
  const server = blockWhenTold(context);
  process.on('message', () => {
    if (cluster.worker.id !== 2) return;
    process.kill(primary, 'SIGSTOP');
    let left = WAITING;
    const watchdog = setTimeout(() => {
      process.kill(primary, 'SIGCONT');
      throw new Error(`${left} of those that wait did not come`);
    }, PATIENCE_MS);
    server.on('connection', () => {
      left--;
      if (left > 0) return;
      clearTimeout(watchdog);
      process.kill(primary, 'SIGCONT');
    });
  });
}

module.exports = {
  'a policy that is set after the first fork changes nothing, lanes included': {
    async primary({ cluster, fork }) {
      await portOf(fork());
      cluster.schedulingPolicy = cluster.SCHED_NONE;
      await portOf(fork());
      await lanesOpen(cluster);
      assert.deepEqual(
        cluster.stats().workers.map((/** @type {any} */ { laneReason }) => laneReason),
        [null, null],
      );
      await endAll(cluster);
    },
    worker: answerWithId,
  },

  'by default nothing is given to a worker that is blocked': {
    linux: true,
    async primary({ cluster, fork, scratch }) {
      const [blocked, other] = [fork(), fork()];
      const [port] = await Promise.all([portOf(blocked), portOf(other)]);
      await lanesOpen(cluster);
      // Both show what they do when they have served something.
      for (const { id } of [blocked, other]) await until(async () => (await ask(port)).answer === `${id}`);
      // What was received is booked when the primary next looks.
      await until(() => laneOf(cluster, blocked.id).inFlight === 0);
      const had = laneOf(cluster, blocked.id).dispatched;
      await block(scratch, blocked);
      const answers = await Promise.all(times(MORE_THAN_IN_FLIGHT).map(() => ask(port)));
      assert.deepEqual(new Set(answers.map(({ answer }) => answer)), new Set([`${other.id}`]));
      assert.equal(laneOf(cluster, blocked.id).dispatched, had);
      // Round robin gives it all that a lane holds first.
      assert.ok(laneOf(cluster, blocked.id).recalled < MORE_THAN_IN_FLIGHT / 4);
      release(scratch, blocked);
      await until(async () => (await ask(port)).answer === `${blocked.id}`);
      await endAll(cluster);
    },
    worker: blockWhenTold,
  },

  'by default connections wait in the primary while all workers are blocked': {
    linux: true,
    async primary({ cluster, fork, scratch }) {
      const workers = [fork(), fork()];
      const [port] = await Promise.all(workers.map(portOf));
      await lanesOpen(cluster);
      for (const { id } of workers) await until(async () => (await ask(port)).answer === `${id}`);
      await block(scratch, ...workers);
      const clients = new Clients();
      const { answers, connected } = clients.ask(port, MORE_THAN_IN_FLIGHT);
      await connected;
      await until(() => cluster.stats().servers[0].pending === MORE_THAN_IN_FLIGHT);
      release(scratch, workers[1]);
      const results = await answers;
      assert.deepEqual(new Set(results.map(({ answer }) => answer)), new Set(['2']));
      release(scratch, workers[0]);
      clients.end();
      await endAll(cluster);
    },
    worker: blockWhenTold,
  },

  'stats() says how the primary knows who is idle, and why not better': {
    linux: true,
    async primary({ cluster, fork }) {
      const [shown, plain] = [fork(), fork('', PLAIN)];
      const idleOf = (/** @type {any} */ { id }) => {
        const { idleBy, idleReason } = laneOf(cluster, id);
        return [idleBy, idleReason];
      };
      const [port] = await Promise.all([portOf(shown), portOf(plain)]);
      await untilKnown(cluster, port, 'pulse', 'kernel');
      assert.deepEqual([shown, plain].map(idleOf), [
        ['pulse', null],
        ['kernel', 'the worker has not loaded corral'],
      ]);
      await endAll(cluster);
    },
    worker: answerWithId,
  },

  'where workers take turns nobody asks whether they are idle': {
    policies: ['round-robin'],
    async primary({ cluster, fork }) {
      await portOf(fork());
      await lanesOpen(cluster);
      const { idleBy, idleReason } = laneOf(cluster);
      assert.deepEqual([idleBy, idleReason], ['in-flight', 'the scheduling policy does not ask']);
      await endAll(cluster);
    },
    worker: answerWithId,
  },

  'a plain worker that is blocked gets nothing while another is idle': {
    linux: true,
    async primary({ cluster, fork, scratch }) {
      const [blocked, other] = [fork('', PLAIN), fork('', PLAIN)];
      const port = await untilBothWait(cluster, blocked, other);
      await block(scratch, blocked);
      await onlyOtherIsAsked(cluster, blocked, other, port);
      release(scratch, blocked);
      await until(async () => (await ask(port)).answer === `${blocked.id}`);
      await endAll(cluster);
    },
    worker: blockWhenTold,
  },

  'a plain worker that is stopped gets nothing while another is idle': {
    linux: true,
    async primary({ cluster, fork }) {
      const [stopped, other] = [fork('', PLAIN), fork('', PLAIN)];
      const port = await untilBothWait(cluster, stopped, other);
      await stop(stopped);
      await onlyOtherIsAsked(cluster, stopped, other, port);
      stopped.process.kill('SIGCONT');
      await until(async () => (await ask(port)).answer === `${stopped.id}`);
      await endAll(cluster);
    },
    worker: answerWithId,
  },

  'a plain worker that is stopped gets nothing while another is only busy': {
    linux: true,
    async primary({ cluster, fork, scratch }) {
      const [stopped, busy] = [fork('', PLAIN), fork('', PLAIN)];
      const port = await untilBothWait(cluster, stopped, busy);
      await block(scratch, busy);
      // Now the other one is known to have been idle later.
      assert.equal((await ask(port)).answer, `${stopped.id}`);
      await stop(stopped);
      const clients = new Clients();
      const { answers } = clients.ask(port, 3);
      await until(() => laneOf(cluster, busy.id).inFlight === 3);
      release(scratch, busy);
      const served = (await answers).map(({ answer }) => answer);
      assert.deepEqual(new Set(served), new Set([`${busy.id}`]));
      clients.end();
      stopped.process.kill('SIGCONT');
      await endAll(cluster);
    },
    worker: blockWhenTold,
  },

  'where the kernel does not tell, stats() says so, and what waits for a blocked worker goes to another': {
    linux: true,
    silent: true,
    async primary({ cluster, fork, scratch }) {
      const [blocked, other] = [fork(), fork()];
      const [port] = await Promise.all([portOf(blocked), portOf(other)]);
      await lanesOpen(cluster);
      await untilUntold(cluster);
      await block(scratch, blocked);
      const answers = await Promise.all(times(MORE_THAN_IN_FLIGHT).map(() => ask(port)));
      assert.deepEqual(new Set(answers.map(({ answer }) => answer)), new Set([`${other.id}`]));
      // It counts as idle until it has not received what it was given.
      assert.ok(laneOf(cluster, blocked.id).recalled < MORE_THAN_IN_FLIGHT / 4);
      release(scratch, blocked);
      await until(async () => (await ask(port)).answer === `${blocked.id}`);
      await endAll(cluster);
    },
    worker: blockWhenTold,
  },

  'where the kernel does not tell of plain workers, stats() says so, and one that is blocked gets a few connections':
    {
      linux: true,
      silent: true,
      async primary({ cluster, fork, scratch }) {
        const [blocked, other] = [fork('', PLAIN), fork('', PLAIN)];
        const [port] = await Promise.all([portOf(blocked), portOf(other)]);
        await untilUntold(cluster);
        await block(scratch, blocked);
        const clients = new Clients();
        const { answers } = clients.ask(port, MORE_THAN_IN_FLIGHT);
        await until(
          () => laneOf(cluster, 1).inFlight + laneOf(cluster, 2).dispatched === MORE_THAN_IN_FLIGHT,
        );
        const few = laneOf(cluster, blocked.id).inFlight;
        assert.ok(few >= 1 && few <= 4, `${few}`);
        release(scratch, blocked);
        const served = (await answers).map(({ answer }) => answer);
        assert.equal(served.filter((answer) => answer === `${blocked.id}`).length, few);
        assert.equal(served.filter((answer) => answer === `${other.id}`).length, MORE_THAN_IN_FLIGHT - few);
        clients.end();
        await endAll(cluster);
      },
      worker: blockWhenTold,
    },

  'a worker takes what waits without its primary': {
    linux: true,
    async primary({ cluster, fork, scratch }) {
      const workers = [fork(), fork()];
      const [port] = await Promise.all(workers.map(portOf));
      await lanesOpen(cluster);
      for (const { id } of workers) await until(async () => (await ask(port)).answer === `${id}`);
      await block(scratch, ...workers);
      const clients = new Clients();
      const { answers, connected } = clients.ask(port, WAITING);
      await connected;
      // They count as soon as they are accepted, and are where workers find them a moment later.
      await until(() => cluster.stats().servers[0].pending === WAITING && coreWaits());
      release(scratch, workers[1]);
      const results = await answers;
      assert.deepEqual(new Set(results.map(({ answer }) => answer)), new Set(['2']));
      release(scratch, workers[0]);
      clients.end();
      await endAll(cluster);
    },
    worker: stopPrimaryWhenReleased,
  },
};
