'use strict';

// SCHED_REUSEPORT: each worker accepts from a socket of its own, and the primary in the place of those that do not.

const assert = require('node:assert/strict');
const dgram = require('node:dgram');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');

const { Clients, ask, askBoth } = require('../../helpers/clients');
const { endAll, next, portOf, until } = require('../../helpers/events');
const { block, blockWhenTold, release, times } = require('../../helpers/lanes');
const { stop } = require('../../helpers/proc');
const { answerWithId, answering } = require('../../helpers/servers');

const HOST = '127.0.0.1';
const PLAIN = { CORRAL_TEST_PLAIN: '1' };

const program = { linux: true, policies: ['reuse-port'] };

/** @param {any} cluster @param {number} id */
const statsOf = (cluster, id) =>
  cluster.stats().workers.find((/** @type {any} */ worker) => worker.id === id);

/** @param {number} port @param {number} count @returns {Promise<Set<string | undefined>>} who has answered so many clients */
async function askMany(port, count) {
  const answers = await Promise.all(times(count).map(() => ask(port)));
  assert.deepEqual(
    answers.filter(({ error }) => error),
    [],
  );
  return new Set(answers.map(({ answer }) => answer));
}

/** @param {number} port @returns {Promise<string>} the error of listening there from outside the cluster */
async function refusal(port, options = {}) {
  const server = net.createServer().listen({ port, host: HOST, ...options });
  const failed = next(server, 'error').then(({ code }) => code);
  const listening = next(server, 'listening').then(() => server.close() && 'none');
  return Promise.race([failed, listening]);
}

/** @param {any} cluster whether the primary knows of all workers whether they wait for events */
const isKnown = (cluster) =>
  cluster.stats().workers.every((/** @type {any} */ { idleBy }) => idleBy !== 'in-flight');

/**
 * @param {any} cluster
 * @param {any[]} workers the second answers while the first does not
 * @param {number} port
 */
async function otherAnswers(cluster, [away, other], port) {
  assert.deepEqual(await askMany(port, 40), new Set([`${other.id}`]));
  // On a busy machine it may have been found away, with nothing in its queue, before it was.
  const { stalled, stalls } = statsOf(cluster, away.id);
  assert.ok(stalls > 0 && stalled);
}

module.exports = {
  'workers of both kinds accept at one port, the kernel chooses': {
    ...program,
    modes: ['json', 'advanced'],
    async primary({ cluster, fork }) {
      const workers = [fork(), fork('', PLAIN)];
      const [port, same] = await Promise.all(workers.map(portOf));
      assert.equal(port, same);
      assert.deepEqual(await askBoth(port), ['1', '2']);
      const [server] = cluster.stats().servers;
      assert.deepEqual(
        [server.policy, server.policyReason, server.workers.sort()],
        ['reuse-port', null, [1, 2]],
      );
      await endAll(cluster);
    },
    worker: answerWithId,
  },

  'the constant and the environment name it, too': {
    linux: true,
    env: { NODE_CLUSTER_SCHED_POLICY: 'reuse-port' },
    async primary({ cluster, fork }) {
      assert.equal(cluster.schedulingPolicy, cluster.SCHED_REUSEPORT);
      await portOf(fork());
      assert.equal(cluster.stats().servers[0].policy, 'reuse-port');
      await endAll(cluster);
    },
    worker: answerWithId,
  },

  ...Object.fromEntries(
    ['', 'plain'].map((kind) => [
      `connections for a ${kind || 'loading'} worker that is blocked are served by the other`,
      {
        ...program,
        async primary(/** @type {any} */ { cluster, fork, scratch }) {
          const workers = [fork('', kind ? PLAIN : {}), fork()];
          const [port] = await Promise.all(workers.map(portOf));
          await until(() => isKnown(cluster));
          await block(scratch, workers[0]);
          await otherAnswers(cluster, workers, port);
          release(scratch, workers[0]);
          // It has its share again.
          assert.deepEqual(await askBoth(port), ['1', '2']);
          await until(() => !statsOf(cluster, 1).stalled);
          await endAll(cluster);
        },
        worker: blockWhenTold,
      },
    ]),
  ),

  ...Object.fromEntries(
    ['', 'plain'].map((kind) => [
      `connections for a ${kind || 'loading'} worker that is stopped are served by the other`,
      {
        ...program,
        async primary(/** @type {any} */ { cluster, fork }) {
          const workers = [fork('', kind ? PLAIN : {}), fork()];
          const [port] = await Promise.all(workers.map(portOf));
          assert.deepEqual(await askBoth(port), ['1', '2']);
          await until(() => isKnown(cluster));
          await stop(workers[0]);
          await otherAnswers(cluster, workers, port);
          process.kill(workers[0].process.pid, 'SIGCONT');
          assert.deepEqual(await askBoth(port), ['1', '2']);
          await endAll(cluster);
        },
        worker: answerWithId,
      },
    ]),
  ),

  'no connection that waits is reset when workers are killed and replaced under load': {
    ...program,
    async primary({ cluster, fork }) {
      const workers = [fork(), fork('', PLAIN), fork()];
      const [port] = await Promise.all(workers.map(portOf));
      const clients = new Clients();
      const { answers } = clients.load(port, 8);
      for (let round = 0; round < 9; round++) {
        const victim = workers.shift();
        const gone = next(victim, 'exit');
        victim.process.kill('SIGKILL');
        await gone;
        workers.push(fork('', round % 3 === 1 ? PLAIN : {}));
        await portOf(workers[workers.length - 1]);
      }
      clients.stop();
      const results = await answers;
      clients.end();
      // What a worker had accepted ends with it, and is not reset: these clients send nothing.
      const errors = new Set(results.map(({ error }) => error));
      errors.delete(undefined);
      errors.delete('closed without a full answer');
      assert.deepEqual([...errors], []);
      assert.ok(results.length > 50);
      await endAll(cluster);
    },
    worker: answerWithId,
  },

  'what waits for a blocked worker is served by its replacement, or by others, when it is killed': {
    ...program,
    async primary({ cluster, fork, scratch }) {
      const workers = [fork(), fork()];
      const [port] = await Promise.all(workers.map(portOf));
      await until(() => isKnown(cluster));
      await block(scratch, ...workers);
      const clients = new Clients();
      const { connected, answers } = clients.ask(port, 60);
      await connected;
      workers[0].process.kill('SIGKILL');
      await next(workers[0], 'exit');
      await portOf(fork('free'));
      assert.deepEqual(new Set((await answers).map(({ answer }) => answer)), new Set(['3']));
      clients.end();
      release(scratch, workers[1]);
      await endAll(cluster);
    },
    worker: blockWhenTold,
  },

  'a worker may close its server or leave, and the port is free when all have': {
    ...program,
    async primary({ cluster, fork }) {
      const workers = [fork(), fork('', PLAIN), fork()];
      const [port] = await Promise.all(workers.map(portOf));
      workers[0].send('close');
      await next(workers[0], 'message');
      assert.deepEqual(await askBoth(port), ['2', '3']);
      const left = next(workers[1], 'exit');
      workers[1].disconnect();
      assert.deepEqual(await askMany(port, 30), new Set(['3']));
      assert.equal(await left, 0);
      assert.equal(await refusal(port), 'EADDRINUSE');
      workers[2].send('close');
      await next(workers[2], 'message');
      await until(() => cluster.stats().servers.length === 0);
      assert.equal(await refusal(port), 'none');
      await endAll(cluster);
    },
    worker(context) {
      const server = answerWithId(context);
      process.on('message', () => server.close(() => process.send?.('closed')));
    },
  },

  'an address in use is the error of every worker, and one that is exclusive stands alone': {
    ...program,
    async primary({ cluster, fork }) {
      const taken = net.createServer().listen(0, HOST);
      await next(taken, 'listening');
      const { port } = /** @type {any} */ (taken.address());
      for (const env of [{}, PLAIN]) {
        const worker = fork(`${port}`, env);
        const { code, own } = await next(worker, 'message');
        assert.equal(code, 'EADDRINUSE');
        assert.notEqual(own, port);
        assert.equal(cluster.stats().servers.length, 0);
        // It would not close what is its own.
        worker.process.kill();
        await next(worker, 'exit');
      }
      taken.close();
    },
    worker({ role, cluster }) {
      const failed = answering(1).listen({ port: Number(role), host: HOST });
      failed.on('error', (/** @type {any} */ { code }) => {
        const alone = answering(cluster.worker.id).listen({ port: 0, host: HOST, exclusive: true }, () => {
          const { port: own } = /** @type {any} */ (alone.address());
          process.send?.({ code, own });
        });
      });
    },
  },

  'paths, datagrams and descriptors have what they had, and stats say why': {
    ...program,
    async primary({ cluster, fork, scratch }) {
      const own = net.createServer().listen(0, HOST);
      await next(own, 'listening');
      const fd = /** @type {any} */ (own)._handle.fd;
      for (const env of [{}, PLAIN]) await next(fork(`${fd}`, env), 'message');
      const reasons = Object.fromEntries(
        cluster
          .stats()
          .servers.map((/** @type {any} */ { policy, policyReason }) => [policyReason, policy])
          .sort(),
      );
      assert.deepEqual(reasons, {
        'a path has one socket': 'one-queue',
        'the socket is one that the program has opened': 'one-queue',
        'workers read datagrams from one socket': 'none',
      });
      assert.deepEqual(await askBoth(path.join(scratch, 'server.sock')), ['1', '2']);
      own.close();
      await endAll(cluster);
    },
    async worker({ cluster, role, scratch }) {
      const { id } = cluster.worker;
      await next(answering(id).listen(path.join(scratch, 'server.sock')), 'listening');
      await next(answering(id).listen({ fd: Number(role) }), 'listening');
      await next(dgram.createSocket('udp4').bind(0, HOST), 'listening');
      process.send?.('listening');
    },
  },

  'ipv6Only holds for every socket': {
    ...program,
    skip: !fs.existsSync('/proc/net/if_inet6') && 'this machine has no IPv6',
    async primary({ cluster, fork }) {
      const workers = [fork(), fork('', PLAIN)];
      const [port] = await Promise.all(workers.map(portOf));
      assert.deepEqual(await askBoth({ host: '::1', port }), ['1', '2']);
      assert.equal((await ask(port)).error, 'ECONNREFUSED');
      await endAll(cluster);
    },
    worker: (context) => answerWithId(context, { port: 0, host: '::', ipv6Only: true }),
  },
};
