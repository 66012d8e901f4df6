'use strict';

// Clients that belong to a worker.

const assert = require('node:assert/strict');
const { readdirSync } = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const { once } = require('node:events');

const { endAll, next, until } = require('../../helpers/events');
const { lanesOpen, times } = require('../../helpers/lanes');

/** Clients that are silent at the same time. */
const SILENT = 1000;

const PLAIN = { CORRAL_TEST_PLAIN: '1' };

/**
 * Sends parts of a request, each when the last has gone, and reads the answer.
 *
 * @param {any} where a port, or what net.connect takes
 * @param {string[]} parts
 * @param {(part: number) => unknown} [between] awaited before each part but the first
 * @returns {Promise<string>}
 */
async function say(where, parts, between = () => {}) {
  const socket = net.connect(typeof where === 'number' ? { port: where, host: '127.0.0.1' } : where);
  socket.setNoDelay().setEncoding('latin1');
  let answer = '';
  socket.on('data', (part) => {
    answer += part;
  });
  await once(socket, 'connect');
  for (const [index, part] of parts.entries()) {
    if (index > 0) await between(index);
    socket.write(part);
  }
  await once(socket, 'close');
  return answer;
}

/** @param {string} answer of an HTTP server that says who it is */
const bodyOf = (answer) => answer.split('\r\n\r\n')[1];

/**
 * @param {string} line that names a client in a head, or nothing
 * @param {string} [target]
 */
const head = (line, target = '/') =>
  `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${line && `${line}\r\n`}\r\n`;

/** An HTTP server that says who it is, and what it was asked. @param {any} context @param {any} [where] */
function serveHttp({ cluster }, where = { port: 0, host: '127.0.0.1' }) {
  const server = http.createServer((request, response) => {
    const session = /[?&]begin=([^&]*)/.exec(`${request.url}`)?.[1];
    if (session !== undefined) {
      response.setHeader('Set-Cookie', [`other=1`, `io=${session}; Path=/; HttpOnly`]);
      response.setHeader('X-Session', session);
    }
    response.end(`${cluster.worker.id} ${request.method} ${request.url}`);
  });
  return server.listen(where);
}

/** @param {any} cluster */
const countsOf = (cluster) => cluster.stats().servers[0];

/**
 * @param {any} cluster
 * @param {any[]} workers
 * @returns {Promise<number>} their port
 */
async function listening(cluster, workers) {
  const [[{ port }]] = await Promise.all(workers.map((worker) => once(worker, 'listening')));
  assert.equal(countsOf(cluster).policy, 'sticky');
  return port;
}

/** @param {string} answer */
const idIn = (answer) => Number.parseInt(bodyOf(answer), 10);

/**
 * Kills a worker and forks another in its place.
 *
 * @param {any} context
 * @param {number} id
 * @param {NodeJS.ProcessEnv} [env]
 */
async function replace({ cluster, fork }, id, env) {
  const worker = cluster.workers[id];
  worker.process.kill('SIGKILL');
  await once(worker, 'exit');
  const replacement = fork('', env);
  await once(replacement, 'listening');
  return replacement.id;
}

/** Each client that a header names has its own worker, which a replacement takes over. @param {NodeJS.ProcessEnv} [env] */
const namedByHeader = (env) => ({
  async primary(/** @type {any} */ context) {
    const { cluster, fork } = context;
    cluster.setupPrimary({ schedulingPolicy: { name: 'sticky', by: { header: 'X-User' } } });
    const port = await listening(
      cluster,
      times(3).map(() => fork('', env)),
    );
    const names = times(12).map((_, number) => `u${number}`);
    const ask = async (/** @type {string} */ name) => {
      const answer = await say(port, [head(`x-user: ${name}`, `/${name}`)]);
      // It was only looked at: the worker has read every byte.
      assert.match(bodyOf(answer), new RegExp(`^\\d GET /${name}$`));
      return idIn(answer);
    };
    const homes = [];
    for (const name of names) homes.push(await ask(name));
    assert.ok(new Set(homes).size > 1, `${homes}`);
    assert.deepEqual(await Promise.all(names.map(ask)), homes);
    const replacement = await replace(context, homes[0], env);
    const now = await Promise.all(names.map(ask));
    assert.deepEqual(
      now,
      homes.map((home) => (home === homes[0] ? replacement : home)),
    );
    assert.equal(countsOf(cluster).stickyByKey, 36);
    await endAll(cluster);
  },
  worker: serveHttp,
});

/**
 * A session that a worker begins stays with it.
 *
 * @param {any} by
 * @param {(session: string) => string} begin a request with which one begins
 * @param {(session: string) => string} go a request that names it
 */
const begunByWorkers = (by, begin, go) => ({
  linux: true,
  async primary(/** @type {any} */ context) {
    const { cluster, fork } = context;
    cluster.setupPrimary({ schedulingPolicy: { name: 'sticky', by } });
    const workers = times(3).map(() => fork());
    const port = await listening(cluster, workers);
    await lanesOpen(cluster);
    const sessions = times(12).map((_, number) => `s${number}`);
    /** @type {number[]} */
    const homes = [];
    for (const session of sessions) {
      homes.push(idIn(await say(port, [begin(session)])));
      assert.equal(idIn(await say(port, [go(session)])), homes.at(-1), session);
    }
    const again = await Promise.all(sessions.map((session) => say(port, [go(session)])));
    assert.deepEqual(again.map(idIn), homes);
    const begun = () =>
      cluster
        .stats()
        .workers.reduce((/** @type {number} */ sum, /** @type {any} */ worker) => sum + worker.sessions, 0);
    assert.equal(begun(), 12);
    // What the others have begun stays theirs when one has gone, and when it has come again.
    const lost = homes[0];
    const replacement = await replace(context, lost);
    const after = await Promise.all(sessions.map((session) => say(port, [go(session)])));
    after.map(idIn).forEach((id, place) => {
      if (homes[place] !== lost) assert.equal(id, homes[place]);
    });
    assert.ok(replacement > 3);
    await endAll(cluster);
  },
  worker: serveHttp,
});

module.exports = {
  'a header names clients of workers with lanes': namedByHeader(),
  'a header names clients of plain workers': namedByHeader(PLAIN),

  'an address is one client, and everybody on a Unix socket is nobody in particular': {
    async primary({ cluster, fork, scratch }) {
      cluster.schedulingPolicy = cluster.SCHED_STICKY;
      const workers = [fork(), fork(), fork('', PLAIN)];
      const places = await Promise.all(workers.map((worker) => next(worker, 'listening')));
      const { port } = places.find((place) => place.port > 0) ?? (await next(workers[0], 'listening'));
      await until(() =>
        cluster.stats().servers.every((/** @type {any} */ { workers }) => workers.length === 3),
      );
      const answers = await Promise.all(times(9).map(() => say(port, [head('')])));
      assert.equal(new Set(answers.map(idIn)).size, 1);
      const path = `${scratch}/s`;
      const seen = new Set();
      while (seen.size < 3) seen.add(idIn(await say({ path }, [head('')])));
      await endAll(cluster);
    },
    async worker(context) {
      await once(serveHttp(context), 'listening');
      serveHttp(context, `${context.scratch}/s`);
    },
  },

  'a head that comes in parts is waited for, wherever it is split': {
    async primary({ cluster, fork }) {
      cluster.setupPrimary({ schedulingPolicy: { name: 'sticky', by: { query: 'sid' }, deadline: 60_000 } });
      const port = await listening(cluster, [fork(), fork(), fork()]);
      await lanesOpen(cluster);
      const request = head('', '/?EIO=4&sid=abcdef');
      const home = idIn(await say(port, [request]));
      const awaited = () => until(() => countsOf(cluster).firstBytesAwaited === 1);
      for (const at of [1, 4, 12, 18, 22]) {
        const parts = [request.slice(0, at), request.slice(at)];
        assert.equal(idIn(await say(port, parts, awaited)), home, `split at ${at}`);
      }
      const three = [request.slice(0, 3), request.slice(3, 15), request.slice(15)];
      let looked = 0;
      const afterEach = async () => {
        await awaited();
        looked += 1;
      };
      assert.equal(idIn(await say(port, three, afterEach)), home);
      assert.equal(looked, 2);
      assert.deepEqual(
        [
          countsOf(cluster).stickyByKey,
          countsOf(cluster).stickyByDeadline,
          countsOf(cluster).firstBytesAwaited,
        ],
        [7, 0, 0],
      );
      await endAll(cluster);
    },
    worker: serveHttp,
  },

  'who says nothing, too little or too much is served by the worker of its address': {
    async primary({ cluster, fork }) {
      const by = { header: 'x-user' };
      cluster.setupPrimary({ schedulingPolicy: { name: 'sticky', by, deadline: 1, maxHeadSize: 256 } });
      const port = await listening(cluster, [fork(), fork('', PLAIN), fork()]);
      const late = () => countsOf(cluster).stickyByDeadline;
      const untilLate = async (/** @type {number} */ count) => until(() => late() === count);
      const nothing = await say(port, ['', head('')], () => untilLate(1));
      const request = head('x-user: somebody');
      const little = await say(port, [request.slice(0, 20), request.slice(20)], () => untilLate(2));
      const much = await say(port, [head(`x: ${'x'.repeat(300)}`)]);
      assert.equal(late(), 3);
      const hostile = await say(port, ['\0\0\0\0']);
      assert.match(hostile, /^HTTP\/1.1 400 /);
      assert.equal(countsOf(cluster).stickyByAddress, 1);
      assert.deepEqual(new Set([nothing, little, much].map(idIn)).size, 1);
      await endAll(cluster);
    },
    worker: serveHttp,
  },

  'a thousand clients that send one byte cost two descriptors each and keep nobody waiting': {
    linux: true,
    async primary({ cluster, fork }) {
      const by = { header: 'x-user' };
      cluster.setupPrimary({ schedulingPolicy: { name: 'sticky', by, deadline: 500 } });
      const port = await listening(cluster, [fork(), fork()]);
      await lanesOpen(cluster);
      const descriptors = () => readdirSync('/proc/self/fd').length;
      const before = descriptors();
      let most = 0;
      const request = head('x-user: slow');
      const late = () => countsOf(cluster).stickyByDeadline;
      const rest = until(() => {
        most = Math.max(most, descriptors());
        return late() >= SILENT;
      });
      const answers = times(SILENT).map(() => say(port, [request.slice(0, 1), request.slice(1)], () => rest));
      // Somebody else, all the while.
      let others = 0;
      while (late() < SILENT) {
        assert.ok(idIn(await say(port, [head('x-user: somebody')])) > 0);
        others += 1;
      }
      assert.ok(others > 0);
      for (const answer of await Promise.all(answers)) assert.ok(idIn(answer) > 0, answer);
      // The client's, which is in this process, and the primary's.
      assert.ok(most <= before + 2 * SILENT + 50, `${before}, then ${most}`);
      assert.equal(countsOf(cluster).firstBytesAwaited, 0);
      await until(() => descriptors() <= before + 10);
      await endAll(cluster);
    },
    worker: serveHttp,
  },

  'the PROXY protocol names clients, and the worker reads its header': {
    async primary({ cluster, fork }) {
      cluster.setupPrimary({ schedulingPolicy: { name: 'sticky', by: 'proxy' } });
      const port = await listening(cluster, [fork(), fork('', PLAIN), fork()]);
      const line = (/** @type {number} */ host) => `PROXY TCP4 192.0.2.${host} 192.0.2.1 1 2\r\n`;
      const hosts = times(12).map((_, host) => host);
      const homes = [];
      for (const host of hosts) homes.push(await say(port, [line(host), '!']));
      for (const [host, home] of homes.entries()) assert.ok(home.endsWith(`:${line(host)}`), home);
      assert.ok(new Set(homes.map((home) => home[0])).size > 1);
      assert.deepEqual(await Promise.all(hosts.map((host) => say(port, [line(host), '!']))), homes);
      await endAll(cluster);
    },
    worker({ cluster }) {
      net
        .createServer((socket) => {
          let text = '';
          socket.on('data', (part) => {
            text += part;
            if (text.endsWith('!')) socket.end(`${cluster.worker.id}:${text.slice(0, -1)}`);
          });
        })
        .listen(0, '127.0.0.1');
    },
  },

  'the client that a proxy names in X-Forwarded-For has its own worker': {
    async primary({ cluster, fork }) {
      cluster.setupPrimary({ schedulingPolicy: { name: 'sticky', by: { forwarded: 2 } } });
      const port = await listening(cluster, [fork(), fork('', PLAIN), fork()]);
      const hosts = times(12).map((_, host) => `2001:db8:0:${host}::`);
      const ask = async (/** @type {string} */ host, /** @type {string} */ before = '') =>
        idIn(await say(port, [head(`X-Forwarded-For: ${before}${host}1, 192.0.2.1`)]));
      const homes = [];
      for (const host of hosts) homes.push(await ask(host));
      assert.ok(new Set(homes).size > 1);
      // What a client itself has put to the left says nothing.
      assert.deepEqual(await Promise.all(hosts.map((host) => ask(host, '192.0.2.99, '))), homes);
      await endAll(cluster);
    },
    worker: serveHttp,
  },

  'a cookie that a worker sets is its session': begunByWorkers(
    { cookie: 'io' },
    (session) => head('', `/?begin=${session}`),
    (session) => head(`Cookie: a=b; io=${session}`),
  ),

  'a header that a worker sets is its session': begunByWorkers(
    { header: 'X-Session' },
    (session) => head('', `/?begin=${session}`),
    (session) => head(`x-session: ${session}`),
  ),

  'a worker says which sessions it begins': {
    linux: true,
    async primary({ cluster, fork }) {
      cluster.setupPrimary({ schedulingPolicy: { name: 'sticky', by: { query: 'room' } } });
      const workers = times(3).map(() => fork());
      const port = await listening(cluster, workers);
      await lanesOpen(cluster);
      for (const [index, worker] of workers.entries()) {
        for (const room of [`a${index}`, `b ${index}/é`]) {
          worker.send(room);
          assert.deepEqual(await next(worker, 'message'), true);
          const target = `/?room=${encodeURIComponent(room)}`;
          assert.equal(idIn(await say(port, [head('', target)])), worker.id);
        }
      }
      await endAll(cluster);
    },
    worker(context) {
      const { cluster } = context;
      for (const wrong of ['', 'x'.repeat(257), 7, undefined])
        assert.throws(() => cluster.bindSession(wrong));
      process.on('message', (room) => process.send?.(cluster.bindSession(room)));
      serveHttp(context);
    },
  },

  'options that cannot be are errors that say where and why': {
    primary({ cluster }) {
      const set = (/** @type {any} */ options) =>
        cluster.setupPrimary({ schedulingPolicy: { 80: { name: 'sticky', ...options } } });
      const where = `settings.schedulingPolicy\\["80"\\]`;
      for (const [options, code, message] of [
        [{ by: 'cookie' }, 'ERR_INVALID_ARG_VALUE', `${where}.by' must be 'ip', 'proxy', `],
        [{ by: null }, 'ERR_INVALID_ARG_VALUE', `${where}.by' must be `],
        [{ by: {} }, 'ERR_INVALID_ARG_VALUE', `${where}.by' must be `],
        [{ by: { header: 'a', cookie: 'b' } }, 'ERR_INVALID_ARG_VALUE', `${where}.by' must be `],
        [{ by: { constructor: 'a' } }, 'ERR_INVALID_ARG_VALUE', `${where}.by' must be `],
        [{ by: { header: 'a b' } }, 'ERR_INVALID_ARG_VALUE', `${where}.by.header' is no name of a header`],
        [{ by: { cookie: '' } }, 'ERR_INVALID_ARG_VALUE', `${where}.by.cookie' is no name of a cookie`],
        [{ by: { query: 'a\nb' } }, 'ERR_INVALID_ARG_VALUE', `${where}.by.query' is no name of a query`],
        [{ by: { query: 1 } }, 'ERR_INVALID_ARG_TYPE', `${where}.by.query" property must be of type string`],
        [{ by: { forwarded: 0 } }, 'ERR_OUT_OF_RANGE', `${where}.by.forwarded" is out of range`],
        [{ by: { forwarded: '1' } }, 'ERR_INVALID_ARG_TYPE', `${where}.by.forwarded" property must be`],
        [{ maxHeadSize: 1e9 }, 'ERR_OUT_OF_RANGE', `${where}.maxHeadSize" is out of range`],
        [{ deadline: 0.5 }, 'ERR_OUT_OF_RANGE', `${where}.deadline" is out of range`],
        [{ x: 1 }, 'ERR_INVALID_ARG_VALUE', `${where}.x' is no option of this policy`],
      ]) {
        assert.throws(() => set(options), { code, message: new RegExp(/** @type {string} */ (message)) });
      }
      for (const by of [
        'ip',
        'proxy',
        { header: 'X-A' },
        { cookie: 'a' },
        { query: 'é' },
        { forwarded: 1 },
      ]) {
        set({ by });
      }
    },
  },
};
