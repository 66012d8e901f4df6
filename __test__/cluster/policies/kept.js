'use strict';

// Requests of several clients that belong to different workers, on one kept connection. All workers are idle: each request is
// looked at before it is read.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const http = require('node:http');
const http2 = require('node:http2');

const { endAll, message, next, until } = require('../../helpers/events');
const { RawClient, keptCount } = require('../../helpers/kept-client');
const { laneOf, lanesOpen, times } = require('../../helpers/lanes');

const PLAIN = { CORRAL_TEST_PLAIN: '1' };

/** How often two clients take turns. */
const ROUNDS = 20;

/** Clients enough that three workers have some each. */
const NAMES = times(200).map((_, number) => `u${number}`);

/**
 * @param {string} line of the head that names a client, or nothing
 * @param {string} [target]
 * @param {string} [body] to POST
 */
function request(line, target = '/', body = undefined) {
  const method = body === undefined ? 'GET' : 'POST';
  const length = body === undefined ? '' : `Content-Length: ${body.length}\r\n`;
  return `${method} ${target} HTTP/1.1\r\nHost: a\r\n${length}${line && `${line}\r\n`}\r\n${body ?? ''}`;
}

/** How each kind of policy has a client's name in a request. @type {Record<string, { by: any, of(name: string): string }>} */
const KINDS = {
  'a header': { by: { header: 'X-User' }, of: (name) => request(`x-user: ${name}`) },
  'a cookie': { by: { cookie: 'io' }, of: (name) => request(`Cookie: a=b; io=${name}`) },
  'a parameter of the query': { by: { query: 'sid' }, of: (name) => request('', `/?sid=${name}`) },
  'an address that was forwarded': {
    by: { forwarded: 1 },
    of: (name) => request(`X-Forwarded-For: 192.0.2.${Number(name.slice(1))}`),
  },
};

const { by: BY_HEADER, of: ofUser } = KINDS['a header'];

/**
 * Answers with the worker's id and the length of what was posted, and begins a session if it is asked to.
 *
 * @param {any} context
 */
function serve({ cluster }) {
  const server = http.createServer((incoming, response) => {
    const begun = /[?&]begin=([^&]*)/.exec(`${incoming.url}`)?.[1];
    if (begun !== undefined) response.setHeader('Set-Cookie', `io=${begun}`);
    let length = 0;
    incoming.on('data', (part) => {
      length += part.length;
    });
    incoming.on('end', () => response.end(`${cluster.worker.id}${length > 0 ? ` ${length}` : ''}`));
  });
  process.on('message', (/** @type {any} */ { bind, timeout }) => {
    if (timeout !== undefined) server.keepAliveTimeout = timeout;
    process.send?.(bind === undefined ? true : cluster.bindSession(bind));
  });
  return server.listen(0, '127.0.0.1');
}

/**
 * Workers whose clients are so known, and their port.
 *
 * @param {any} context
 * @param {any} schedulingPolicy
 * @param {(NodeJS.ProcessEnv | undefined)[]} [environments] of the workers
 */
async function site({ cluster, fork }, schedulingPolicy, environments = [undefined, undefined]) {
  cluster.setupPrimary({ keepAlive: 'balance', schedulingPolicy });
  const workers = environments.map((env) => fork('', env));
  const [{ port }] = await Promise.all(workers.map((worker) => next(worker, 'listening')));
  if (!environments.includes(PLAIN)) await lanesOpen(cluster);
  await until(() => cluster.stats().servers[0]?.workers.length === workers.length);
  return { workers, port };
}

/** @param {any} by */
const sticky = (by) => ({ name: 'sticky', by });

/**
 * Who serves a client that connects anew.
 *
 * @param {number} port
 * @param {string} text its request
 */
async function homeOf(port, text) {
  const client = new RawClient(port);
  const { body } = await client.ask(text).then((answer) => ({ body: answer }));
  client.end();
  return body;
}

/**
 * For each of the workers with these ids a client of its own.
 *
 * @param {number} port
 * @param {(name: string) => string} of the request of a client
 * @param {any[]} workers
 * @returns {Promise<string[]>} names, in the order of the workers
 */
async function namesOf(port, of, workers) {
  /** @type {Map<string, string>} */
  const names = new Map();
  const hasAll = () => workers.every(({ id }) => names.has(`${id}`));
  for (const name of NAMES) if (!hasAll()) names.set(await homeOf(port, of(name)), name);
  return workers.map(({ id }) => names.get(`${id}`) ?? assert.fail(`nobody belongs to worker ${id}`));
}

/**
 * Two clients take turns on one connection.
 *
 * @param {RawClient} client
 * @param {string[]} requests
 * @param {string[]} expected who serves each of them
 */
async function alternate(client, requests, expected) {
  const wrong = [];
  for (const round of times(ROUNDS).keys()) {
    for (const [place, text] of requests.entries()) {
      const answer = await client.ask(text);
      if (answer !== expected[place]) wrong.push(`${round}: ${answer} instead of ${expected[place]}`);
    }
  }
  assert.deepEqual(wrong, []);
}

/** @param {any} cluster how many connections have moved between two requests */
const movedCount = (cluster) =>
  cluster
    .stats()
    .workers.reduce((/** @type {number} */ sum, /** @type {any} */ { rebalanced }) => sum + rebalanced, 0);

/** @param {[string, { by: any, of(name: string): string }]} kind @returns {[string, any]} */
const alternating = ([kind, { by, of }]) => [
  `two clients that ${kind} names take turns on one connection, and each has its own worker`,
  {
    linux: true,
    async primary(/** @type {any} */ context) {
      const { cluster } = context;
      const { workers, port } = await site(context, sticky(by));
      const names = await namesOf(port, of, workers);
      const accepted = () => cluster.stats().servers[0].accepted;
      const before = accepted();
      const client = new RawClient(port);
      await alternate(
        client,
        names.map(of),
        workers.map(({ id }) => `${id}`),
      );
      assert.equal(accepted(), before + 1);
      assert.ok(movedCount(cluster) >= 2 * ROUNDS - 1);
      // One of them alone moves nothing more.
      await client.ask(of(names[0]));
      const moved = movedCount(cluster);
      for (const _ of times(ROUNDS)) assert.equal(await client.ask(of(names[0])), `${workers[0].id}`);
      assert.equal(movedCount(cluster), moved);
      client.end();
      await until(() => keptCount(cluster) === 0);
      await endAll(cluster);
    },
    worker: serve,
  },
];

module.exports = {
  ...Object.fromEntries(Object.entries(KINDS).map(alternating)),

  'sessions that workers have begun take turns on one connection': {
    linux: true,
    async primary(context) {
      const { cluster } = context;
      const { by, of } = KINDS['a cookie'];
      const { workers, port } = await site(context, sticky(by), [undefined, undefined, undefined]);
      // By the workers' answers, on the connection on which they are named next.
      const client = new RawClient(port);
      /** @type {string[]} */
      const homes = [];
      for (const number of times(6).keys()) {
        homes.push(await client.ask(request('', `/?begin=s${number}`)));
        for (const [session, home] of homes.entries())
          assert.equal(await client.ask(of(`s${session}`)), home);
      }
      // By the program, of a client that has been another worker's until then.
      const [first, second] = workers;
      const [name] = await namesOf(port, of, [first]);
      assert.equal(await client.ask(of(name)), `${first.id}`);
      second.send({ bind: name });
      assert.equal(await message(second), true);
      // The primary may read it later than the program.
      await until(async () => (await client.ask(of(name))) === `${second.id}`);
      assert.equal(await client.ask(of(name)), `${second.id}`);
      assert.equal(await homeOf(port, of(name)), `${second.id}`);
      client.end();
      await endAll(cluster);
    },
    worker: serve,
  },

  'a request that names nobody is served by anybody, and one of an unknown session by its hash': {
    linux: true,
    async primary(context) {
      const { cluster } = context;
      const { workers, port } = await site(context, sticky(BY_HEADER));
      const names = await namesOf(port, ofUser, workers);
      const client = new RawClient(port);
      for (const [place, { id }] of workers.entries()) {
        assert.equal(await client.ask(ofUser(names[place])), `${id}`);
        // By whoever has the connection, unless that one is busy.
        for (const _ of times(3)) assert.match(await client.ask(request('')), /^[12]$/);
      }
      for (const name of ['a stranger', 'another']) {
        assert.equal(await client.ask(ofUser(name)), await homeOf(port, ofUser(name)));
      }
      client.end();
      await endAll(cluster);
    },
    worker: serve,
  },

  'requests that are sent in one piece are answered in their order, and the next one by its own worker': {
    linux: true,
    async primary(context) {
      const { cluster } = context;
      const { workers, port } = await site(context, sticky(BY_HEADER));
      const names = await namesOf(port, ofUser, workers);
      const [own, other] = workers.map(({ id }) => `${id}`);
      const [ofOwn, ofOther] = names.map(ofUser);
      const client = new RawClient(port);
      for (const _ of times(3)) {
        assert.equal(await client.ask(ofOther), other);
        // Who looks sees the first. What is read with it is served with it.
        client.write(ofOwn + ofOwn + ofOther);
        for (const _answer of times(3)) assert.equal((await client.answer()).body, own);
        assert.equal(await client.ask(ofOther), other);
      }
      client.end();
      await endAll(cluster);
    },
    worker: serve,
  },

  'a head that arrives in pieces is waited for, wherever it is split': {
    linux: true,
    async primary(context) {
      const { cluster } = context;
      const { workers, port } = await site(context, { ...sticky(BY_HEADER), deadline: 60_000 });
      const names = await namesOf(port, ofUser, workers);
      const [own, other] = workers.map(({ id }) => `${id}`);
      const [ofOwn, ofOther] = names.map(ofUser);
      const client = new RawClient(port);
      for (const at of [1, 10, ofOther.indexOf('x-user'), ofOther.length - 1]) {
        assert.equal(await client.ask(ofOwn), own);
        client.write(ofOther.slice(0, at));
        await until(() => cluster.stats().servers[0].firstBytesAwaited === 1);
        assert.equal(await client.ask(ofOther.slice(at)), other);
        // It may be for who has had it.
        client.write(ofOther.slice(0, at));
        await until(() => cluster.stats().servers[0].firstBytesAwaited === 1);
        assert.equal(await client.ask(ofOther.slice(at)), other);
      }
      client.end();
      await endAll(cluster);
    },
    worker: serve,
  },

  'a body goes with its head, whatever is in it': {
    linux: true,
    async primary(context) {
      const { cluster } = context;
      const { workers, port } = await site(context, sticky(BY_HEADER));
      const names = await namesOf(port, ofUser, workers);
      const client = new RawClient(port);
      // A body that is a request of the other client's, which may come in the next segment.
      const bodies = [ofUser(names[0]).repeat(3), ofUser(names[1]), 'x'.repeat(1 << 20)];
      for (const body of bodies) {
        for (const [place, { id }] of workers.entries()) {
          const whole = request(`x-user: ${names[place]}`, '/', body);
          assert.equal(await client.ask(whole), `${id} ${body.length}`);
          const head = whole.length - body.length;
          client.write(whole.slice(0, head));
          await new Promise((resolve) => setImmediate(resolve));
          assert.equal(await client.ask(whole.slice(head)), `${id} ${body.length}`);
        }
      }
      client.end();
      await endAll(cluster);
    },
    worker: serve,
  },

  'when a worker dies its clients go to another on the same connection, and its replacement gets them back': {
    linux: true,
    async primary(context) {
      const { cluster, fork } = context;
      const { workers, port } = await site(context, sticky(BY_HEADER));
      const names = await namesOf(port, ofUser, workers);
      const [dead, other] = workers;
      const [ofDead, ofOther] = names.map(ofUser);
      const client = new RawClient(port);
      assert.equal(await client.ask(ofDead), `${dead.id}`);
      assert.equal(await client.ask(ofOther), `${other.id}`);
      await until(() => laneOf(cluster, other.id).kept === 1);
      dead.process.kill('SIGKILL');
      await once(dead, 'exit');
      for (const text of [ofDead, ofOther, ofDead]) assert.equal(await client.ask(text), `${other.id}`);
      const replacement = fork();
      await next(replacement, 'listening');
      await until(() => laneOf(cluster, replacement.id).lane === 'lane');
      await alternate(client, [ofDead, ofOther], [`${replacement.id}`, `${other.id}`]);
      // It dies with the connection, between two requests.
      assert.equal(await client.ask(ofDead), `${replacement.id}`);
      await until(() => laneOf(cluster, replacement.id).kept === 1);
      replacement.process.kill('SIGKILL');
      await once(replacement, 'exit');
      for (const text of [ofOther, ofDead]) assert.equal(await client.ask(text), `${other.id}`);
      client.end();
      await endAll(cluster);
    },
    worker: serve,
  },

  'a worker that has not loaded corral gets the requests of its clients, and keeps the connection': {
    linux: true,
    async primary(context) {
      const { cluster } = context;
      const { workers, port } = await site(context, sticky(BY_HEADER), [undefined, PLAIN]);
      const names = await namesOf(port, ofUser, workers);
      const [own, plain] = workers.map(({ id }) => `${id}`);
      const [ofOwn, ofPlain] = names.map(ofUser);
      for (const _ of times(3)) {
        const client = new RawClient(port);
        for (const _again of times(3)) assert.equal(await client.ask(ofOwn), own);
        for (const _again of times(2)) assert.equal(await client.ask(ofPlain), plain);
        assert.equal(await client.ask(ofOwn), plain);
        client.end();
      }
      await endAll(cluster);
    },
    worker: serve,
  },

  'a connection becomes a WebSocket at the worker of the client that asks for it': {
    linux: true,
    async primary(context) {
      const { cluster } = context;
      const { workers, port } = await site(context, sticky(BY_HEADER));
      const names = await namesOf(port, ofUser, workers);
      for (const [place, { id }] of workers.entries()) {
        const client = new RawClient(port);
        assert.equal(await client.ask(ofUser(names[1 - place])), `${workers[1 - place].id}`);
        client.write(request(`x-user: ${names[place]}\r\nConnection: Upgrade\r\nUpgrade: websocket`));
        assert.match((await client.answer()).head, new RegExp(`^HTTP/1.1 101 .*\r\nX-Worker: ${id}$`, 's'));
        // Nothing of it is a request any more.
        const frames = ofUser(names[1 - place]).repeat(2);
        client.write(frames);
        await until(() => client.received === frames);
        client.end();
      }
      await endAll(cluster);
    },
    worker(context) {
      serve(context).on('upgrade', (_request, socket) => {
        const head = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n';
        socket.write(`${head}X-Worker: ${context.cluster.worker.id}\r\n\r\n`);
        socket.pipe(socket);
        socket.on('error', () => {});
      });
    },
  },

  'HTTP/2 stays with the worker of its address': {
    linux: true,
    async primary(context) {
      const { cluster } = context;
      const { port } = await site(context, sticky(BY_HEADER));
      const session = http2.connect(`http://127.0.0.1:${port}`);
      const answers = new Set();
      for (const name of NAMES.slice(0, 16)) {
        const stream = session.request({ ':path': '/', 'x-user': name }).setEncoding('utf8');
        let text = '';
        for await (const part of stream) text += part;
        answers.add(text);
      }
      assert.equal(answers.size, 1);
      session.close();
      await endAll(cluster);
    },
    worker({ cluster }) {
      const server = http2.createServer((_request, response) => {
        response.end(`${cluster.worker.id}`);
      });
      server.listen(0, '127.0.0.1');
    },
  },

  'a connection ends when its clients say nothing for too long, and half a head is given up at the deadline':
    {
      linux: true,
      async primary(context) {
        const { cluster } = context;
        const { workers, port } = await site(context, sticky(BY_HEADER));
        const names = await namesOf(port, ofUser, workers);
        const [ofOwn, ofOther] = names.map(ofUser);
        // Whoever says too much is known by the address, too.
        const ofAddress = await homeOf(port, request('x: y\r\n'.repeat(200).trim()));
        const slow = new RawClient(port);
        await slow.ask(ofOwn);
        cluster.setupPrimary({ schedulingPolicy: { ...sticky(BY_HEADER), deadline: 1 } });
        const late = () => cluster.stats().servers[0].stickyByDeadline;
        const before = late();
        slow.write(ofOther.slice(0, -2));
        await until(() => late() === before + 1);
        assert.equal(await slow.ask(ofOther.slice(-2)), ofAddress);
        slow.end();
        const client = new RawClient(port);
        for (const text of [ofOwn, ofOther]) await client.ask(text);
        for (const worker of workers) {
          worker.send({ timeout: 50 });
          assert.equal(await message(worker), true);
        }
        await client.ask(ofOwn);
        await once(client.socket, 'close');
        await until(() => keptCount(cluster) === 0);
        await endAll(cluster);
      },
      worker: serve,
    },

  'a policy that is changed while connections are kept holds for their next requests': {
    linux: true,
    async primary(context) {
      const { cluster } = context;
      const { by, of } = KINDS['a cookie'];
      const { workers, port } = await site(context, 'one-queue');
      const client = new RawClient(port);
      const holder = await client.ask(request(''));
      cluster.setupPrimary({ schedulingPolicy: sticky(by) });
      await until(() => cluster.stats().servers[0].policy === 'sticky');
      // What a worker begins is its own from now on.
      let count = 0;
      let name = '';
      let home = '';
      await until(async () => {
        name = `s${count++}`;
        home = await homeOf(port, request('', `/?begin=${name}`));
        return home !== holder && home === (await homeOf(port, of(name)));
      });
      await until(async () => (await client.ask(of(name))) === home);
      const [own] = await namesOf(
        port,
        of,
        workers.filter(({ id }) => `${id}` === holder),
      );
      await alternate(client, [of(own), of(name)], [holder, home]);
      cluster.setupPrimary({ schedulingPolicy: 'one-queue' });
      await until(() => cluster.stats().servers[0].policy === 'one-queue');
      // They are anybody's.
      for (const text of [of(own), of(name), of(own)]) assert.match(await client.ask(text), /^[12]$/);
      client.end();
      await endAll(cluster);
    },
    worker: serve,
  },
};
