'use strict';

// Which policy a server has: one for all, or one for each.

const assert = require('node:assert/strict');
const path = require('node:path');

const { ask, askBoth } = require('../../helpers/clients');
const { endAll, next, until } = require('../../helpers/events');
const { lanesOpen } = require('../../helpers/lanes');
const { answering } = require('../../helpers/servers');

const PLAIN = { CORRAL_TEST_PLAIN: '1' };

/** @param {any} worker until it has so many servers @param {number} count @returns {Promise<any[]>} their addresses */
function serversOf(worker, count) {
  /** @type {any[]} */
  const addresses = [];
  return new Promise((resolve) => {
    worker.on('listening', (/** @type {any} */ address) => {
      if (addresses.push(address) === count) resolve(addresses);
    });
  });
}

/** The servers of a worker of these tests, by what tells them apart. @param {string} scratch */
const places = (scratch) => [
  { port: 0, host: '127.0.0.1' },
  { port: 0, host: '127.0.0.2' },
  { path: path.join(scratch, 'one.sock') },
  { path: path.join(scratch, 'two.sock') },
];

/** @param {any} context */
async function listenEverywhere({ cluster, scratch }) {
  for (const place of places(scratch)) {
    await next(answering(cluster.worker.id).listen(place), 'listening');
  }
}

/** @param {any} cluster @returns {Record<string, string>} the policy of each server by its address */
function policiesOf(cluster) {
  return Object.fromEntries(
    cluster
      .stats()
      .servers.map((/** @type {any} */ { address, policy }) => [path.basename(address), policy])
      .sort(),
  );
}

module.exports = {
  'a map has a policy for each server, side by side, for workers of both kinds': {
    async primary({ cluster, fork, scratch }) {
      cluster.setupPrimary({
        schedulingPolicy: {
          0: 'round-robin',
          '127.0.0.1:0': 'one-queue',
          [path.relative('', path.join(scratch, 'one.sock'))]: { name: 'none' },
          default: 'round-robin',
        },
      });
      const workers = [fork(), fork('', PLAIN)];
      const listening = await Promise.all(workers.map((worker) => serversOf(worker, 4)));
      assert.deepEqual(policiesOf(cluster), {
        '127.0.0.1': 'one-queue',
        '127.0.0.2': 'round-robin',
        'one.sock': 'none',
        'two.sock': 'round-robin',
      });
      for (const address of listening[0].filter(({ port }) => port > 0)) {
        assert.deepEqual(await askBoth({ host: address.address, port: address.port }), ['1', '2']);
      }
      assert.deepEqual(await askBoth(path.join(scratch, 'two.sock')), ['1', '2']);
      assert.match((await ask(path.join(scratch, 'one.sock'))).answer ?? '', /^[12]$/);
      const { accepted } = cluster
        .stats()
        .servers.find((/** @type {any} */ { address }) => address.endsWith('one.sock'));
      assert.equal(accepted, 0);
      await endAll(cluster);
    },
    worker: listenEverywhere,
  },

  'what a map does not have goes by cluster.schedulingPolicy': {
    async primary({ cluster, fork }) {
      cluster.schedulingPolicy = cluster.SCHED_NONE;
      cluster.setupPrimary({ schedulingPolicy: { '127.0.0.1:0': 'one-queue' } });
      await serversOf(fork(), 4);
      assert.deepEqual(policiesOf(cluster), {
        '127.0.0.1': 'one-queue',
        '127.0.0.2': 'none',
        'one.sock': 'none',
        'two.sock': 'none',
      });
      await lanesOpen(cluster);
      await endAll(cluster);
    },
    worker: listenEverywhere,
  },

  'a change at run time applies to new connections of open servers': {
    linux: true,
    async primary({ cluster, fork }) {
      cluster.setupPrimary({ schedulingPolicy: 'round-robin' });
      const workers = [fork(), fork(), fork('', PLAIN)];
      const [[{ port }]] = await Promise.all(workers.map((worker) => serversOf(worker, 4)));
      await until(() =>
        cluster
          .stats()
          .workers.slice(0, 2)
          .every((/** @type {any} */ { lane }) => lane === 'lane'),
      );
      const policy = () => policiesOf(cluster)['127.0.0.1'];
      assert.equal(policy(), 'round-robin');
      // A worker that is late loses its turn.
      const missing = new Set(['1', '2', '3']);
      await until(async () => {
        missing.delete((await ask(port)).answer ?? '');
        return missing.size === 0;
      });

      // What the new policy needs to know is asked for now.
      cluster.setupPrimary({ schedulingPolicy: 'one-queue' });
      const idleBy = () =>
        cluster
          .stats()
          .workers.map((/** @type {any} */ worker) => worker.idleBy)
          .join();
      await until(async () => (await ask(port)).answer && idleBy() === 'pulse,pulse,kernel');
      assert.equal(policy(), 'one-queue');
      cluster.setupPrimary({ schedulingPolicy: { default: 'round-robin' } });
      await until(() => policy() === 'round-robin');

      // Those who accept cannot change with the server open.
      cluster.setupPrimary({ schedulingPolicy: 'none' });
      assert.match((await ask(port)).answer ?? '', /^[123]$/);
      assert.equal(policy(), 'round-robin');
      cluster.setupPrimary({ schedulingPolicy: undefined });
      await until(() => policy() === 'one-queue');
      await endAll(cluster);
    },
    worker: listenEverywhere,
  },

  'NODE_CLUSTER_SCHED_POLICY is the name of a policy': {
    env: { NODE_CLUSTER_SCHED_POLICY: 'round-robin' },
    async primary({ cluster, fork }) {
      assert.equal(cluster.schedulingPolicy, cluster.SCHED_RR);
      await serversOf(fork(), 4);
      assert.deepEqual(new Set(Object.values(policiesOf(cluster))), new Set(['round-robin']));
      await endAll(cluster);
    },
    worker: listenEverywhere,
  },

  'NODE_CLUSTER_SCHED_POLICY that names none is a warning, and Node takes no notice of it': {
    env: { NODE_CLUSTER_SCHED_POLICY: 'fastest' },
    async primary({ cluster, fork }) {
      const warning = await next(process, 'warning');
      assert.equal(warning.code, 'CORRAL_UNKNOWN_POLICY');
      assert.match(warning.message, /^NODE_CLUSTER_SCHED_POLICY=fastest is no scheduling policy/);
      assert.equal(cluster.schedulingPolicy, cluster.SCHED_RR);
      await serversOf(fork(), 4);
      assert.deepEqual(new Set(Object.values(policiesOf(cluster))), new Set(['one-queue']));
      await endAll(cluster);
    },
    worker: listenEverywhere,
  },

  'a setting that cannot be is an error that says where and why, and changes nothing': {
    primary({ cluster }) {
      const wrong = [
        ['fastest', "'settings.schedulingPolicy' must be one of: 'one-queue', "],
        [2, "'settings.schedulingPolicy' must be one of: "],
        [null, "'settings.schedulingPolicy' must be one of: "],
        [['none'], "'settings.schedulingPolicy' must be one of: "],
        [{ name: 'fastest' }, "'settings.schedulingPolicy' must be one of: "],
        [{ name: 'none', by: 'ip' }, "'settings.schedulingPolicy.by' is no option of this policy"],
        [{ default: 'fastest' }, "'settings.schedulingPolicy.default' must be one of: "],
        [{ 80: 'toString' }, `'settings.schedulingPolicy["80"]' must be one of: `],
        [{ 80: { name: 'none', x: 1 } }, `'settings.schedulingPolicy["80"].x' is no option of this policy`],
        ...['65536', 'localhost:80', '[127.0.0.1]:80', '::1:80', '1.2.3.4:65536', 'file', ''].map((key) => [
          { [key]: 'none' },
          "'settings.schedulingPolicy' has a key that names no server. It must be a port, 'address:port', ",
        ]),
      ];
      cluster.setupPrimary({ schedulingPolicy: 'round-robin' });
      for (const [schedulingPolicy, message] of wrong) {
        assert.throws(
          () => cluster.setupPrimary({ schedulingPolicy }),
          (/** @type {any} */ error) => {
            assert.equal(error.code, 'ERR_INVALID_ARG_VALUE');
            assert.ok(error.message.startsWith(`The property ${message}`), error.message);
            return error instanceof TypeError;
          },
        );
        assert.equal(cluster.settings.schedulingPolicy, 'round-robin');
      }
    },
  },
};
