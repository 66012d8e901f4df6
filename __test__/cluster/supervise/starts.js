'use strict';

// Workers that cannot be started, or cannot be asked whether they are ready.

const assert = require('node:assert/strict');
const http = require('node:http');

const { next, until } = require('../../helpers/events');
const { HOST, pidsOf } = require('../../helpers/supervise');

const QUICK = { signals: false, minUptime: 50, idle: 100, drain: 20_000 };

function serve() {
  http.createServer((_request, response) => response.end(`${process.pid}`)).listen(0, HOST);
}

module.exports = {
  'an env function that has thrown once left every reload after it waiting for ever': {
    async primary({ cluster }) {
      let isBroken = false;
      const env = () => {
        if (isBroken) throw new Error('no such secret');
        return {};
      };
      const supervisor = cluster.supervise({ ...QUICK, workers: 2, env });
      await supervisor.ready;
      const before = pidsOf(supervisor);
      isBroken = true;
      await assert.rejects(supervisor.reload(), {
        code: 'ERR_CORRAL_RELOAD_FAILED',
        message: /the new one could not be started: no such secret$/,
      });
      assert.deepEqual(pidsOf(supervisor), before);
      // A worker that is to be started anew was an uncaught exception.
      const crash = next(supervisor, 'crash');
      process.kill(before[0], 'SIGKILL');
      await crash;
      assert.match((await next(supervisor, 'crash')).reason, /no such secret/);
      isBroken = false;
      assert.equal((await supervisor.reload()).replaced, 2);
      await supervisor.stop();
    },
    worker: serve,
  },

  'several workers that cannot even be spawned were a TypeError': {
    async primary({ cluster }) {
      // More than the system takes for a process.
      const supervisor = cluster.supervise({ ...QUICK, workers: 3, env: { LARGE: 'x'.repeat(2 ** 24) } });
      await assert.rejects(supervisor.ready, {
        code: 'ERR_CORRAL_START_FAILED',
        message: /could not be started: spawn E2BIG$/,
      });
      assert.deepEqual(supervisor.status().workers, []);
    },
  },

  'a URL that nobody can ask was an uncaught exception': {
    async primary({ cluster }) {
      const ready = { url: () => 'localhost:3000/ready' };
      const supervisor = cluster.supervise({ ...QUICK, workers: 1, ready });
      await assert.rejects(supervisor.ready, {
        code: 'ERR_CORRAL_START_FAILED',
        message: /has no URL to be asked at: Protocol "localhost:" not supported/,
      });
    },
    worker: serve,
  },

  'an answer without an end is no reason to ask no more': {
    async primary({ cluster }) {
      const ready = {
        url: (/** @type {any} */ worker) => `http://${HOST}:${worker.port ?? 1}/`,
        interval: 10,
      };
      cluster.on('message', (/** @type {any} */ worker, /** @type {number} */ port) => {
        worker.port = port;
      });
      const supervisor = cluster.supervise({ ...QUICK, workers: 1, ready });
      await supervisor.ready;
      await supervisor.stop();
    },
    worker() {
      let count = 0;
      const server = http.createServer((_request, response) => {
        count++;
        if (count === 3) return response.end();
        response.writeHead(503).write('not yet');
      });
      server.listen({ port: 0, host: HOST, exclusive: true }, () => {
        process.send?.(/** @type {any} */ (server.address()).port);
      });
    },
  },

  'workers that keep failing are a warning, with what they have written last, where nobody listens': {
    async primary({ cluster }) {
      const supervisor = cluster.supervise({ ...QUICK, workers: 2, captureStderr: true });
      const warning = next(process, 'warning');
      await supervisor.ready;
      const { code, message } = await warning;
      assert.equal(code, 'CORRAL_CRASH_LOOP');
      assert.match(message, /^workers in slot 1 keep failing: .* code 3\n {4}out of luck$/);
      assert.equal(supervisor.status().workers.find(({ slot }) => slot === 0)?.state, 'ready');
      await supervisor.kill();
    },
    worker() {
      serve();
      if (process.env.NODE_APP_INSTANCE === '0') return;
      setTimeout(() => {
        console.error('out of luck');
        process.exit(3);
      }, 100);
    },
  },

  'workers that are started for a debugger are never hung': {
    linux: true,
    async primary({ cluster }) {
      cluster.setupPrimary({ execArgv: ['--inspect=0'], inspectPort: 0 });
      const supervisor = cluster.supervise({ ...QUICK, workers: 1, hungAfter: 200, captureStderr: true });
      supervisor.on('crash', ({ reason }) => assert.fail(reason));
      await supervisor.ready;
      const [pid] = pidsOf(supervisor);
      await until(() => cluster.stats().workers.every(({ turns }) => turns !== null));
      const answer = next(cluster.workers[1], 'message');
      cluster.workers[1].send('block');
      assert.equal(await answer, 'done');
      assert.deepEqual(pidsOf(supervisor), [pid]);
      await supervisor.stop();
    },
    worker() {
      serve();
      process.on('message', () => {
        for (const end = Date.now() + 2_000; Date.now() < end; );
        process.send?.('done');
      });
    },
  },

  'servers that a worker had closed again were waited for in every one after it': {
    async primary({ cluster }) {
      const supervisor = cluster.supervise({ ...QUICK, workers: 1, readyTimeout: 30_000 });
      await supervisor.ready;
      await new Promise((resolve) => cluster.once('message', resolve));
      const [before] = pidsOf(supervisor);
      process.kill(before, 'SIGKILL');
      await until(() => pidsOf(supervisor).some((pid) => pid !== before));
      await new Promise((resolve) => cluster.once('message', resolve));
      await until(() => cluster.stats().servers.length === 2);
      assert.equal((await supervisor.reload()).replaced, 1);
      assert.equal(supervisor.status().restarts, 1);
      await supervisor.stop();
    },
    worker({ cluster }) {
      serve();
      http.createServer().listen(0, HOST, () => {
        // Not the one of the reload.
        if (cluster.worker.id === 3) return;
        const other = http.createServer().listen(0, HOST, () => other.close(() => process.send?.('closed')));
      });
    },
  },

  'more than ten workers whose stderr goes through the primary were three warnings of leaks': {
    async primary({ cluster }) {
      process.on('warning', ({ message }) => assert.fail(message));
      const supervisor = cluster.supervise({ ...QUICK, workers: 11, ready: 'online', captureStderr: true });
      await supervisor.ready;
      await supervisor.kill();
    },
    worker() {
      setInterval(() => {}, 1_000_000);
    },
  },
};
