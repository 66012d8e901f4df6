'use strict';

// Reloads of a supervised cluster.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');

const { next, until } = require('../../helpers/events');
const { Clients, HOST, ask, nextIn, pidsOf, portOfFirst } = require('../../helpers/supervise');

/** Without signals: these are the test's. */
const QUICK = { signals: false, minUptime: 50, idle: 500, drain: 20_000 };

/** A server whose answers take a moment. */
function serve() {
  http
    .createServer((_request, response) => setTimeout(() => response.end(process.env.NODE_APP_INSTANCE), 5))
    .listen(0, HOST);
}

/** Reloads twice under load. */
const losesNothing = (/** @type {any} */ options, /** @type {any} */ settings = {}) => ({
  async primary({ cluster }) {
    cluster.setupPrimary(settings);
    const first = portOfFirst(cluster);
    // A client that is late with its next request, on a busy machine, finds its connection open.
    const supervisor = cluster.supervise({ ...QUICK, idle: 20_000, workers: 2, ...options });
    await supervisor.ready;
    const port = await first;
    const before = pidsOf(supervisor);
    const clients = new Clients(port);
    for (let generation = 1; generation <= 2; generation++) {
      const result = await supervisor.reload();
      assert.deepEqual([result.generation, result.replaced], [generation, 2]);
    }
    await clients.end();
    assert.deepEqual(clients.errors, []);
    assert.ok(clients.answers > 0);
    const after = pidsOf(supervisor);
    assert.equal(new Set([...before, ...after]).size, 4);
    assert.equal(supervisor.status().lastReload.generation, 2);
    await supervisor.stop();
    assert.equal(supervisor.status().state, 'stopped');
  },
  worker: serve,
});

/** A reload in which the new worker fails, and one in which it does not. */
const ends = (/** @type {any} */ options, /** @type {RegExp} */ reason) => ({
  async primary({ cluster }) {
    const release = { name: 'good' };
    let listening = 0;
    cluster.on('listening', () => listening++);
    const first = portOfFirst(cluster);
    const supervisor = cluster.supervise({
      ...QUICK,
      workers: 2,
      captureStderr: true,
      env: () => ({ RELEASE: release.name }),
      ...options,
    });
    await until(() => listening === 4);
    await supervisor.ready;
    const port = await first;
    const before = pidsOf(supervisor);
    release.name = 'bad';
    const failed = next(supervisor, 'reloadFailed');
    await assert.rejects(supervisor.reload(), { code: 'ERR_CORRAL_RELOAD_FAILED', message: reason });
    assert.match((await failed).message, reason);
    assert.match(supervisor.status().lastReload.error, reason);
    assert.deepEqual(pidsOf(supervisor), before);
    assert.match(await ask(port), /^\d$/);
    release.name = 'good';
    await supervisor.reload();
    await supervisor.stop();
  },
  worker() {
    if (process.env.RELEASE === 'good') return void releaseOf().good();
    return void releaseOf()[process.env.HOW ?? 'throws']();
  },
});

/** What workers of a release do, by its name. */
function releaseOf() {
  return {
    good() {
      serve();
      http.createServer().listen(0, HOST);
      process.send?.('ready');
    },
    throws() {
      console.error('some line');
      throw new Error('a broken release');
    },
    half: serve,
    leaves() {
      serve();
      setTimeout(() => process.exit(3), 10);
    },
  };
}

module.exports = {
  'a reload loses no request on new and on kept connections': losesNothing({}),
  'nor does one with surge 0': losesNothing({ surge: 0 }),
  'nor does one with kept connections that rest': losesNothing({}, { keepAlive: 'balance' }),

  'one whose worker throws ends, and the reason has its last lines': ends(
    {},
    /has exited with code 1 before it was ready[\s\S]*some line[\s\S]*a broken release/,
  ),
  'one whose worker listens at fewer addresses ends': {
    // Longer than the good ones take on a busy machine.
    ...ends({ readyTimeout: 10_000 }, /was not ready after 10000 ms: it listens at 1 of 2 addresses/),
    env: { HOW: 'half' },
  },
  'one whose worker ends when it is barely ready ends': {
    ...ends({ minUptime: 1000 }, /has exited with code 3/),
    env: { HOW: 'leaves' },
  },
  'one whose worker is not what a function wants ends': ends(
    {
      ready: async (worker) => {
        await next(worker, 'listening');
        if (worker.id === 3) throw new Error('the third is bad');
      },
      env: { RELEASE: 'good' },
    },
    /is not ready: the third is bad/,
  ),

  'a release that is behind a symbolic link is that of the last reload': {
    async primary({ cluster, scratch }) {
      const program = "process.on('message', (_m) => process.send(__filename)); process.send('ready');";
      const current = path.join(scratch, 'current');
      for (const release of ['v1', 'v2']) {
        fs.mkdirSync(path.join(scratch, release));
        fs.writeFileSync(path.join(scratch, release, 'app.js'), program);
      }
      const point = (/** @type {string} */ release) => {
        fs.rmSync(current, { force: true });
        fs.symlinkSync(path.join(scratch, release), current);
      };
      /** @returns {Promise<string>} what the only worker runs */
      const running = async (/** @type {any} */ supervisor) => {
        const { id } = supervisor.status().workers.find((/** @type {any} */ { state }) => state === 'ready');
        const answer = next(cluster.workers[id], 'message');
        cluster.workers[id].send('?');
        return path.basename(path.dirname(await answer));
      };
      point('v1');
      cluster.setupPrimary({ exec: path.join(current, 'app.js'), args: [] });
      const supervisor = cluster.supervise({ ...QUICK, workers: 1, ready: 'message' });
      await supervisor.ready;
      point('v2');
      const ready = nextIn(supervisor, 'ready');
      process.kill(pidsOf(supervisor)[0], 'SIGKILL');
      await ready;
      assert.equal(await running(supervisor), 'v1');
      await supervisor.reload();
      assert.equal(await running(supervisor), 'v2');
      fs.rmSync(current);
      await assert.rejects(supervisor.reload(), {
        code: 'ERR_CORRAL_RELOAD_FAILED',
        message: /go on: ENOENT/,
      });
      assert.equal(await running(supervisor), 'v2');
      await supervisor.stop();
    },
  },

  'a worker gets no connection before it says that it is ready': {
    linux: true,
    async primary({ cluster }) {
      const first = portOfFirst(cluster);
      const supervisor = cluster.supervise({ ...QUICK, workers: 1, ready: 'message' });
      const port = await first;
      const answer = ask(port);
      cluster.workers[1].send('go');
      await supervisor.ready;
      // It has been ready before the connection came.
      assert.equal(await answer, 'ready');
      await supervisor.stop();
    },
    worker() {
      let state = 'not ready';
      http.createServer((_request, response) => response.end(state)).listen(0, HOST);
      process.on('message', () => {
        state = 'ready';
        process.send('ready');
      });
    },
  },

  'a worker is ready when it answers at a URL': {
    async primary({ cluster, scratch }) {
      const ports = path.join(scratch, 'port');
      const supervisor = cluster.supervise({
        ...QUICK,
        workers: 1,
        ready: { url: () => `http://${HOST}:${fs.readFileSync(ports, 'utf8')}/`, interval: 20 },
        env: { PORT_FILE: ports },
      });
      // Without the file there is no URL.
      await assert.rejects(supervisor.ready, { code: 'ERR_CORRAL_START_FAILED', message: /no URL/ });
      const url = (/** @type {any} */ _worker, /** @type {number} */ slot) =>
        `http://${HOST}:${fs.existsSync(ports) ? fs.readFileSync(ports, 'utf8') : 1}/${slot}`;
      const another = cluster.supervise({
        ...QUICK,
        workers: 1,
        ready: { url, interval: 20 },
        env: { PORT_FILE: ports },
      });
      await another.ready;
      assert.equal(another.status().workers.length, 1);
      await another.stop();
    },
    worker() {
      let asked = 0;
      const server = http.createServer((_request, response) => {
        response.statusCode = ++asked < 3 ? 503 : 200;
        response.end();
      });
      // Its own port, which leads to nobody else.
      server.listen({ port: 0, host: HOST, exclusive: true }, () => {
        const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
        const file = /** @type {string} */ (process.env.PORT_FILE);
        fs.writeFileSync(`${file}.new`, `${port}`);
        fs.renameSync(`${file}.new`, file);
      });
    },
  },

  'two reloads at once are one after the other': {
    async primary({ cluster }) {
      const supervisor = cluster.supervise({ ...QUICK, workers: 1 });
      await supervisor.ready;
      const results = await Promise.all([supervisor.reload(), supervisor.reload()]);
      assert.deepEqual(
        results.map(({ generation }) => generation),
        [1, 2],
      );
      await until(() => supervisor.status().workers.length === 1);
      await supervisor.stop();
    },
    worker: serve,
  },
};
