'use strict';

// Channels that have names: what takes a core, messages between workers above all.

const assert = require('node:assert/strict');

const { LONGEST_TIMEOUT } = require('../../../lib/util/longest-timeout');
const { endAll, message } = require('../../helpers/events');

/** More than may be under way at a time, between two workers and to the primary. */
const MANY = 40_000;

/** @param {Promise<any>} promise */
const codeOf = (promise) =>
  promise.then(
    () => undefined,
    ({ code }) => code,
  );

module.exports = {
  ...require('./named-with-primary'),

  'workers talk under a name without the primary': {
    modes: ['json', 'advanced'],
    async primary(/** @type {any} */ { cluster, fork }) {
      const workers = [fork(), fork(), fork()];
      cluster.channel('name').respond(() => assert.fail('the primary is not asked'));
      await Promise.all(workers.map((worker) => message(worker)));
      workers[0].send('go');
      assert.deepEqual(await message(workers[0]), {
        reply: '2 heard a from 1',
        other: 'ERR_CORRAL_NO_HANDLER',
        gathered: {
          replies: [
            { id: 2, reply: '2 heard all from 1' },
            { id: 3, reply: '3 heard all from 1' },
          ],
          failed: [],
          gone: [],
          late: [],
        },
        heard: [
          [2, 'yes'],
          [3, 'yes'],
        ],
        nobody: 'ERR_CORRAL_NO_SUCH_WORKER',
      });
      await endAll(cluster);
    },
    worker(/** @type {any} */ { cluster }) {
      const { id } = cluster.worker;
      const channel = cluster.channel('name');
      channel.respond((question, from) => `${id} heard ${question} from ${from.id}`);
      const heard = [];
      let all = () => {};
      channel.on('message', (from, text) => {
        if (text !== 'yes') channel.send(from, 'yes');
        else if (heard.push([from.id, text]) === 2) all();
      });
      cluster.on('message', () => assert.fail('it has a name'));
      process.once('message', async () => {
        const answered = new Promise((resolve) => {
          all = () => resolve(undefined);
        });
        const reply = await channel.request(2, 'a');
        const other = await codeOf(cluster.channel('other').request(cluster.workerById(3), 'b'));
        const gathered = await channel.gather('all', { timeout: LONGEST_TIMEOUT });
        gathered.replies.sort((one, two) => one.id - two.id);
        channel.broadcast('do you hear');
        await answered;
        heard.sort(([one], [two]) => one - two);
        process.send({ reply, other, gathered, heard, nobody: await codeOf(channel.request(77, 'c')) });
      });
      process.send('ready');
    },
  },

  'very many requests at once wait, and are answered': {
    async primary(/** @type {any} */ { cluster, fork }) {
      cluster.channel('name').respond((number) => number + 1);
      const workers = [fork(), fork()];
      await Promise.all(workers.map((worker) => message(worker)));
      workers[0].send('go');
      assert.deepEqual(await message(workers[0]), { 2: MANY, primary: MANY });
      const asked = Array.from({ length: MANY }, (_, number) => cluster.channel('name').request(2, number));
      const replies = await Promise.all(asked);
      assert.ok(replies.every((reply, number) => reply === number + 1));
      await endAll(cluster);
    },
    worker(/** @type {any} */ { cluster }) {
      const channel = cluster.channel('name');
      channel.respond((number) => number + 1);
      process.once('message', async () => {
        const right = {};
        for (const to of [2, 'primary']) {
          const asked = Array.from({ length: MANY }, (_, number) => channel.request(to, number));
          right[to] = (await Promise.all(asked)).filter((reply, number) => reply === number + 1).length;
        }
        process.send(right);
      });
      process.send('ready');
    },
  },
};
