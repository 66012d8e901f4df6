'use strict';

// Policies of a program's own: asked of each connection, or written ahead.

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const path = require('node:path');

const { ask } = require('../../helpers/clients');
const { endAll, next, portOf, until } = require('../../helpers/events');
const { block, blockWhenTold, release, times } = require('../../helpers/lanes');
const { answerWithId } = require('../../helpers/servers');

const PLAIN = { CORRAL_TEST_PLAIN: '1' };

const CLIENTS = require.resolve('../../helpers/client-process');

/** A deadline that is not waited for. */
const NEVER_MS = 60_000;

/** @param {any} context */
function answerEverywhere(context) {
  const listenOnPath = () => answerWithId(context, { path: path.join(context.scratch, 'socket') });
  answerWithId(context).once('listening', listenOnPath);
}

/** @param {number} port @param {string} localAddress @returns {Promise<string | undefined>} who answers that client */
const askFrom = async (port, localAddress) => (await ask({ port, host: '127.0.0.1', localAddress })).answer;

/** @param {number} port @param {string} localAddress @param {string[]} workers until each of them has answered that client */
async function untilAllAnswer(port, localAddress, workers) {
  const missing = new Set(workers);
  // A worker that is late loses its turn.
  await until(async () => {
    missing.delete((await askFrom(port, localAddress)) ?? '');
    return missing.size === 0;
  });
}

module.exports = {
  'a function says who gets each connection, at once or later, by worker or id': {
    async primary({ cluster, fork, scratch }) {
      /** @type {any[]} */
      const asked = [];
      /** @type {any[]} */
      let answers = [];
      cluster.setupPrimary({
        schedulingPolicy: {
          name: 'mine',
          deadline: NEVER_MS,
          pick(/** @type {any} */ connection, /** @type {any[]} */ workers) {
            asked.push({ ...connection, ids: workers.map(({ id }) => id).sort() });
            const [answer] = answers.splice(0, 1);
            return answer?.(workers);
          },
        },
      });
      const workers = [fork(), fork('', PLAIN)];
      const port = (await Promise.all(workers.map(portOf)))[0];
      const areAllThere = (/** @type {any} */ { workers }) => workers.length === 2;
      await until(() => cluster.stats().servers.filter(areAllThere).length === 2);
      const [{ policy }] = cluster.stats().servers;
      assert.equal(policy, 'mine');
      answers = [
        () => workers[1],
        () => 1,
        async () => 2,
        () => new Promise((resolve) => setImmediate(resolve, workers[0])),
        () => 2,
      ];
      for (const id of ['2', '1', '2', '1', '2']) assert.equal((await ask(port)).answer, id);
      const { key, remotePort, ...first } = asked[0];
      assert.deepEqual(first, { address: '127.0.0.1', port, remoteAddress: '127.0.0.1', ids: [1, 2] });
      assert.deepEqual([typeof key, typeof remotePort], ['string', 'number']);
      answers = [() => 1];
      const socket = path.join(scratch, 'socket');
      assert.equal((await ask(socket)).answer, '1');
      const ofPath = asked.at(-1);
      assert.deepEqual([ofPath.port, ofPath.remoteAddress, ofPath.remotePort], [null, null, null]);
      assert.ok(socket.endsWith(path.basename(ofPath.address)));
      await endAll(cluster);
    },
    worker: answerEverywhere,
  },

  'what a function does not answer well is told, and decided without it': {
    async primary({ cluster, fork }) {
      /** @type {any} */
      let pick = () => undefined;
      cluster.setupPrimary({
        schedulingPolicy: { name: 'mine', deadline: NEVER_MS, fallback: 'round-robin', pick: () => pick() },
      });
      const port = await portOf(fork());
      assert.equal((await ask(port)).answer, '1');
      pick = () => null;
      assert.equal((await ask(port)).answer, '1');
      /** @type {any[]} */
      const told = [];
      cluster.on('error', (/** @type {any} */ error) => told.push(error.code ?? error.message));
      const failures = [
        () => {
          throw new Error('thrown');
        },
        async () => {
          throw new Error('rejected');
        },
        () => 77,
        () => 'first',
        () => ({ id: 5 }),
      ];
      for (const failure of failures) {
        pick = failure;
        assert.equal((await ask(port)).answer, '1');
      }
      const invalid = 'ERR_INVALID_RETURN_VALUE';
      assert.deepEqual(told, ['thrown', 'rejected', invalid, invalid, invalid]);
      await endAll(cluster);
    },
    worker: answerWithId,
  },

  'while the primary is blocked no connection waits for longer than its deadline': {
    linux: true,
    async primary({ cluster, fork }) {
      let count = 0;
      cluster.setupPrimary({
        schedulingPolicy: {
          name: 'mine',
          deadline: 50,
          pick() {
            count++;
            return new Promise(() => {});
          },
        },
      });
      const workers = [fork(), fork('', PLAIN)];
      const [port] = await Promise.all(workers.map(portOf));
      // Nothing of this process's JavaScript runs before all are answered.
      const output = execFileSync(process.execPath, [CLIENTS, `${port}`, '20'], { encoding: 'utf8' });
      const answers = JSON.parse(output);
      assert.equal(answers.filter((/** @type {any} */ { answer }) => answer !== undefined).length, 20);
      const [{ unanswered }] = cluster.stats().servers;
      assert.equal(unanswered, 20);
      await until(() => count === 20);
      await endAll(cluster);
    },
    worker: answerWithId,
  },

  'a table says whose the connections of a client are, and others go by another policy': {
    linux: true,
    async primary({ cluster, fork }) {
      const table = cluster.policyTable({ fallback: 'round-robin' });
      cluster.setupPrimary({ schedulingPolicy: { '127.0.0.1:0': table } });
      const workers = [fork(), fork(), fork('', PLAIN)];
      const [port] = await Promise.all(workers.map(portOf));
      const [{ policy }] = cluster.stats().servers;
      assert.equal(policy, 'table');
      table.assign('127.0.0.2', workers[1]);
      table.assign('::ffff:127.0.0.3', 3);
      for (const _ of times(6)) {
        assert.equal(await askFrom(port, '127.0.0.2'), '2');
        assert.equal(await askFrom(port, '127.0.0.3'), '3');
      }
      await untilAllAnswer(port, '127.0.0.4', ['1', '2', '3']);
      table.assign('127.0.0.2', 1);
      assert.equal(await askFrom(port, '127.0.0.2'), '1');
      // One that has gone is no choice.
      const gone = next(cluster, 'exit');
      workers[0].kill();
      await gone;
      assert.match((await askFrom(port, '127.0.0.2')) ?? '', /[23]/);
      table.assign('127.0.0.3');
      await untilAllAnswer(port, '127.0.0.3', ['2', '3']);
      await endAll(cluster);
    },
    worker: answerWithId,
  },

  'a connection of a table waits for its worker, and others pass it': {
    linux: true,
    async primary({ cluster, fork, scratch }) {
      const table = cluster.policyTable();
      cluster.setupPrimary({ schedulingPolicy: table });
      const workers = [fork('', PLAIN), fork('', PLAIN)];
      const [port] = await Promise.all(workers.map(portOf));
      table.assign('127.0.0.2', workers[0]);
      await block(scratch, workers[0]);
      // More than it may have in flight.
      const waiting = times(6).map(() => askFrom(port, '127.0.0.2'));
      await until(() => cluster.stats().servers[0].pending === 2);
      for (const _ of times(3)) assert.equal(await askFrom(port, '127.0.0.3'), '2');
      release(scratch, workers[0]);
      assert.deepEqual(new Set(await Promise.all(waiting)), new Set(['1']));
      await endAll(cluster);
    },
    worker: blockWhenTold,
  },

  'an own policy that cannot be is an error': {
    primary({ cluster }) {
      const pick = () => 1;
      const where = 'settings.schedulingPolicy';
      const wrong = [
        [{ name: '', pick }, 'ERR_INVALID_ARG_VALUE', `${where}.name`],
        [{ name: 'least', pick }, 'ERR_INVALID_ARG_VALUE', `${where}.name`],
        [{ name: 'mine', pick, deadline: '5' }, 'ERR_INVALID_ARG_TYPE', `${where}.deadline`],
        [{ name: 'mine', pick, deadline: 0 }, 'ERR_OUT_OF_RANGE', `${where}.deadline`],
        [{ name: 'mine', pick, deadline: 60_001 }, 'ERR_OUT_OF_RANGE', `${where}.deadline`],
        [{ name: 'mine', pick, fallback: 'none' }, 'ERR_INVALID_ARG_VALUE', `${where}.fallback`],
        [{ name: 'mine', pick, by: 'ip' }, 'ERR_INVALID_ARG_VALUE', `${where}.by`],
        [{ 80: { name: 'mine', pick: 5 } }, 'ERR_INVALID_ARG_VALUE', `${where}["80"]`],
      ];
      for (const [schedulingPolicy, code, place] of wrong) {
        assert.throws(
          () => cluster.setupPrimary({ schedulingPolicy }),
          (/** @type {any} */ error) => error.code === code && error.message.includes(place),
        );
      }
      assert.throws(() => cluster.policyTable({ fallback: 'none' }), { code: 'ERR_INVALID_ARG_VALUE' });
      const table = cluster.policyTable();
      const assignments = [
        [[5, 1], 'ERR_INVALID_ARG_TYPE'],
        [['localhost', 1], 'ERR_INVALID_ARG_VALUE'],
        [['127.0.0.1', 'first'], 'ERR_INVALID_ARG_TYPE'],
        [['127.0.0.1', -1], 'ERR_INVALID_ARG_TYPE'],
      ];
      for (const [args, code] of assignments) assert.throws(() => table.assign(...args), { code });
    },
  },
};
