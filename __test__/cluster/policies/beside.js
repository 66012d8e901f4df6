'use strict';

// Policies that know which worker a client is for, beside what else decides about connections: lanes, recall, refusals, weights,
// workers that go, and kept connections.

const assert = require('node:assert/strict');
const net = require('node:net');

const { ask, connect } = require('../../helpers/clients');
const { endAll, next, portOf, until } = require('../../helpers/events');
const { KeptClient, keptCount, restingClients, serveKept } = require('../../helpers/kept-client');
const { block, blockWhenTold, laneOf, lanesOpen, release, times } = require('../../helpers/lanes');

const PLAIN = { CORRAL_TEST_PLAIN: '1' };

/** The client that is the first worker's, and one that is nobody's. */
const OURS = '127.0.0.2';
const OTHER = '127.0.0.3';

/** A deadline that is not waited for. */
const NEVER_MS = 60_000;

/** How a program says that OURS is worker 1's. @type {Record<string, (cluster: any) => any>} */
const SAY = {
  'a function': () => ({
    name: 'mine',
    deadline: NEVER_MS,
    pick: (/** @type {any} */ { remoteAddress }) => (remoteAddress === OURS ? 1 : undefined),
  }),
  'a table': (cluster) => {
    const table = cluster.policyTable();
    table.assign(OURS, 1);
    return table;
  },
};

/** @param {number} port @param {string} localAddress @returns {Promise<string | undefined>} who answers that client */
const askFrom = async (port, localAddress) => (await ask({ port, host: '127.0.0.1', localAddress })).answer;

/** @param {any[]} load of a server @param {number} id @returns {number} how many connections that worker was chosen for */
const decisionsOf = (load, id) => load.find(({ worker }) => worker === id).decisions;

/** Says who it is, and keeps the connection. The first worker has one at a time. */
function holdOne({ cluster }) {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.end(`${cluster.worker.id}\n`);
  });
  // What it has ended is open until its client ends it, too.
  if (cluster.worker.id === 1) server.maxConnections = 1;
  server.listen({ port: 0, host: '127.0.0.1' });
}

/** @param {string} by @param {(cluster: any) => any} say @returns {[string, any][]} */
const programsOf = (by, say) => [
  [
    `what waits in the lane of a blocked worker is its own with ${by}, and another's when it dies`,
    {
      linux: true,
      async primary({ cluster, fork, scratch }) {
        cluster.setupPrimary({ schedulingPolicy: say(cluster) });
        const workers = [fork(), fork()];
        const [port] = await Promise.all(workers.map(portOf));
        await lanesOpen(cluster);
        await block(scratch, workers[0]);
        const waiting = times(3).map(() => askFrom(port, OURS));
        await until(() => laneOf(cluster).stalled);
        for (const _ of times(5)) assert.equal(await askFrom(port, OTHER), '2');
        // Those that came after it was found to be blocked never were in its lane.
        await until(() => laneOf(cluster).recalled > 0);
        release(scratch, workers[0]);
        assert.deepEqual(await Promise.all(waiting), ['1', '1', '1']);

        const gone = next(workers[0], 'exit');
        process.kill(workers[0].process.pid, 'SIGSTOP');
        const left = times(3).map(() => askFrom(port, OURS));
        await until(() => laneOf(cluster).stalled);
        workers[0].kill('SIGKILL');
        await gone;
        assert.deepEqual(await Promise.all(left), ['2', '2', '2']);
        await endAll(cluster);
      },
      worker: blockWhenTold,
    },
  ],
  [
    `what its worker refuses, or does not get, is another's with ${by}`,
    {
      linux: true,
      async primary({ cluster, fork }) {
        cluster.setupPrimary({ schedulingPolicy: say(cluster) });
        const workers = [fork(), fork(), fork('', PLAIN)];
        const [port] = await Promise.all(workers.map(portOf));
        await lanesOpenOf(cluster, 1, 2);
        const held = connect({ port, host: '127.0.0.1', localAddress: OURS, allowHalfOpen: true });
        assert.equal(`${await next(held, 'data')}`, '1\n');
        for (const _ of times(6)) assert.match((await askFrom(port, OURS)) ?? '', /^[23]$/);
        assert.ok(cluster.stats().servers[0].refused >= 6);
        held.destroy();
        await until(async () => (await askFrom(port, OURS)) === '1');
        workers[0].weight = 0;
        for (const _ of times(6)) assert.match((await askFrom(port, OURS)) ?? '', /^[23]$/);
        workers[0].weight = 1;
        await until(async () => (await askFrom(port, OURS)) === '1');
        // Which of the others has time is not known before.
        const { load } = cluster.stats().servers[0];
        const [own, ...others] = [1, 2, 3].map((id) => decisionsOf(load, id));
        assert.ok(own > 0 && others[0] + others[1] >= 12, `${own}, ${others}`);
        await endAll(cluster);
      },
      worker: holdOne,
    },
  ],
];

/** @param {any} cluster @param {number[]} ids of workers whose lanes are in use */
async function lanesOpenOf(cluster, ...ids) {
  await until(() => ids.every((id) => laneOf(cluster, id).lane === 'lane'));
}

module.exports = {
  ...Object.fromEntries(Object.entries(SAY).flatMap(([by, say]) => programsOf(by, say))),

  'workers that go while a function is asked are no choice any more': {
    async primary({ cluster, fork }) {
      /** @type {((id: number) => void)[]} */
      const answers = [];
      const pick = () => new Promise((resolve) => answers.push(resolve));
      cluster.setupPrimary({ schedulingPolicy: { name: 'mine', deadline: NEVER_MS, pick } });
      const workers = [fork(), fork('', PLAIN), fork()];
      const [port] = await Promise.all(workers.map(portOf));
      const waiting = [ask(port), ask(port)];
      await until(() => answers.length === 2);
      const gone = [next(workers[0], 'exit'), next(workers[1], 'exit')];
      workers[0].kill('SIGKILL');
      workers[1].disconnect();
      await Promise.all(gone);
      answers[0](1);
      answers[1](2);
      assert.deepEqual(
        (await Promise.all(waiting)).map(({ answer }) => answer),
        ['3', '3'],
      );
      await endAll(cluster);
    },
    worker: blockWhenTold,
  },

  'requests of a client of a table wait for its worker, and those of others are balanced': {
    linux: true,
    async primary({ cluster, fork, scratch }) {
      cluster.setupPrimary({ schedulingPolicy: SAY['a table'](cluster), keepAlive: 'balance' });
      const workers = [fork(), fork()];
      const [port] = await Promise.all(workers.map(portOf));
      await lanesOpen(cluster);
      const ours = new KeptClient(port, OURS);
      assert.equal(await ours.ask(), '1');
      await until(() => keptCount(cluster) === 1);
      const others = await restingClients(cluster, port, 12);
      await block(scratch, workers[0]);
      let answer = '';
      const answered = ours.ask().then((text) => {
        answer = text;
      });
      const askOthers = () => Promise.all(others.map((client) => client.ask()));
      for (const _ of times(3)) assert.deepEqual(new Set(await askOthers()), new Set(['2']));
      assert.equal(answer, '');
      release(scratch, workers[0]);
      await answered;
      assert.equal(answer, '1');
      for (const client of [ours, ...others]) client.end();
      await endAll(cluster);
    },
    worker: serveKept,
  },

  'requests of a client that belongs to a worker wait for it, however idle others are': {
    linux: true,
    async primary({ cluster, fork, scratch }) {
      cluster.setupPrimary({ schedulingPolicy: 'sticky', keepAlive: 'balance' });
      const workers = [fork(), fork()];
      const [port] = await Promise.all(workers.map(portOf));
      await lanesOpen(cluster);
      const client = new KeptClient(port);
      const home = await client.ask();
      await until(() => keptCount(cluster) === 1);
      const { load } = cluster.stats().servers[0];
      assert.ok(decisionsOf(load, Number(home)) >= 1);
      const own = workers[Number(home) - 1];
      await block(scratch, own);
      const answered = client.ask();
      // One that is known to be blocked is one whose requests are looked for.
      const waiting = new KeptClient(port);
      const other = waiting.ask();
      await until(() => laneOf(cluster, own.id).stalled);
      release(scratch, own);
      assert.deepEqual(await Promise.all([answered, other]), [home, home]);
      assert.equal(laneOf(cluster, own.id).rebalanced, 0);
      client.end();
      waiting.end();
      await endAll(cluster);
    },
    worker: serveKept,
  },
};
