'use strict';

// `worker.weight`: how many connections a worker gets in comparison with others.

const assert = require('node:assert/strict');

const { Clients, ask } = require('../../helpers/clients');
const { endAll, portOf, until } = require('../../helpers/events');
const { stallsOf, times } = require('../../helpers/lanes');
const { answerWithId } = require('../../helpers/servers');

const PLAIN = { CORRAL_TEST_PLAIN: '1' };

const CONNECTIONS = 10_000;
/** How many of them make up a round. */
const IN_A_ROUND = 500;
/** How many clients there are at a time: one worker is not to look busy because others are served. */
const AT_A_TIME = 4;
/** More than are needed until workers have made up for the turns that they may miss. */
const UNTIL_MADE_UP = 1000;

/**
 * @param {Clients} clients
 * @param {number} port
 * @param {number} count
 * @returns {Promise<Record<string, number>>} how many connections each worker had
 */
async function sharesOf(clients, port, count) {
  /** @type {Record<string, number>} */
  const shares = {};
  for (let done = 0; done < count; done += AT_A_TIME) {
    for (const { answer } of await clients.ask(port, AT_A_TIME).answers) {
      shares[answer ?? ''] = (shares[answer ?? ''] ?? 0) + 1;
    }
  }
  return shares;
}

/**
 * On a busy machine a worker may look blocked, and gets later what it has missed: such a round does not count.
 *
 * @param {any} cluster
 * @param {Clients} clients
 * @param {number} port
 * @returns {Promise<Record<string, number>>} the shares of all connections, in rounds in which nobody did
 */
async function sharesOfGoodRounds(cluster, clients, port) {
  /** @type {Record<string, number>} */
  const all = {};
  for (let done = 0; done < CONNECTIONS; ) {
    const stalls = stallsOf(cluster);
    const shares = await sharesOf(clients, port, IN_A_ROUND);
    if (stalls === stallsOf(cluster)) {
      for (const [id, count] of Object.entries(shares)) all[id] = (all[id] ?? 0) + count;
      done += IN_A_ROUND;
      continue;
    }
    await until(() => cluster.stats().workers.every((/** @type {any} */ { stalled }) => !stalled));
    await sharesOf(clients, port, UNTIL_MADE_UP);
  }
  return all;
}

module.exports = {
  'shares of 10,000 connections are by weight, within 1 %': {
    policies: ['round-robin'],
    async primary({ cluster, fork }) {
      const workers = [fork(), fork(), fork()];
      workers[0].weight = 3;
      const [port] = await Promise.all(workers.map(portOf));
      await until(() => cluster.stats().workers.every((/** @type {any} */ { lane }) => lane === 'lane'));
      const clients = new Clients();
      const shares = await sharesOfGoodRounds(cluster, clients, port);
      clients.end();
      for (const { id, weight } of workers) {
        const expected = (CONNECTIONS * weight) / 5;
        assert.ok(Math.abs(shares[id] - expected) <= CONNECTIONS / 100, JSON.stringify(shares));
      }
      await endAll(cluster);
    },
    worker: answerWithId,
  },

  'a worker of weight 0 gets nothing new until it has another, whatever the policy': {
    policies: ['', 'round-robin'],
    async primary({ cluster, fork }) {
      const workers = [fork(), fork(), fork('', PLAIN)];
      const [port] = await Promise.all(workers.map(portOf));
      for (const drained of workers) {
        for (const worker of workers) worker.weight = worker === drained ? 0 : 1;
        const served = new Set(
          (await Promise.all(times(60).map(() => ask(port)))).map(({ answer }) => answer),
        );
        assert.ok(!served.has(`${drained.id}`), [...served].join());
      }
      for (const worker of workers) worker.weight = 0;
      const waiting = ask(port);
      await until(() => cluster.stats().servers[0].pending === 1);
      workers[1].weight = 1;
      assert.equal((await waiting).answer, `${workers[1].id}`);
      await endAll(cluster);
    },
    worker: answerWithId,
  },

  'a weight that cannot be is an error, and the old one stays': {
    async primary({ cluster, fork }) {
      const worker = fork();
      assert.equal(worker.weight, 1);
      worker.weight = 65_535;
      const wrong = [
        ['3', 'TypeError', 'ERR_INVALID_ARG_TYPE', /^The "worker\.weight" property must be of type number\./],
        [undefined, 'TypeError', 'ERR_INVALID_ARG_TYPE', /of type number/],
        ...[-1, 0.5, 65_536, Number.NaN, Number.POSITIVE_INFINITY].map((value) => [
          value,
          'RangeError',
          'ERR_OUT_OF_RANGE',
          /^The value of "worker\.weight" is out of range\. It must be an integer >= 0 && <= 65535\./,
        ]),
      ];
      for (const [value, name, code, message] of wrong) {
        const assign = () => {
          worker.weight = value;
        };
        assert.throws(assign, { name, code, message });
        assert.equal(worker.weight, 65_535);
      }
      await portOf(worker);
      assert.equal(new cluster.Worker().weight, 1);
      await endAll(cluster);
      // It has gone, and nobody minds.
      worker.weight = 2;
      assert.equal(worker.weight, 2);
    },
    worker: answerWithId,
  },
};
