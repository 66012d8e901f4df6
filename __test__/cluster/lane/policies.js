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
const { answerWithId } = require('../../helpers/servers');

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

  'in one queue nothing is given to a worker that is blocked': {
    linux: true,
    async primary({ cluster, fork, scratch }) {
      cluster.setupPrimary({ schedulingPolicy: 'one-queue' });
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

  'in one queue connections wait in the primary while all workers are blocked': {
    linux: true,
    async primary({ cluster, fork, scratch }) {
      cluster.setupPrimary({ schedulingPolicy: 'one-queue' });
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

  'a policy that there is not is an error': {
    primary({ cluster }) {
      for (const schedulingPolicy of ['fastest', 2, null]) {
        assert.throws(() => cluster.setupPrimary({ schedulingPolicy }), {
          name: 'TypeError',
          code: 'ERR_INVALID_ARG_VALUE',
          message:
            /^The property 'settings\.schedulingPolicy' must be one of: 'round-robin', 'one-queue'\. Received/,
        });
      }
      cluster.setupPrimary({ schedulingPolicy: 'one-queue' });
      assert.equal(cluster.settings.schedulingPolicy, 'one-queue');
    },
  },
};
