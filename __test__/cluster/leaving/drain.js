'use strict';

// `disconnect({ drain })`. A deadline that is not to be reached is so late that the program fails before.

const assert = require('node:assert/strict');
const diagnostics = require('node:diagnostics_channel');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');
const https = require('node:https');
const net = require('node:net');
const path = require('node:path');

const { LONGEST_TIMEOUT } = require('../../../lib/util/longest-timeout');
const { endAll, message, next } = require('../../helpers/events');

const NEVER = { drain: LONGEST_TIMEOUT };
const HOST = '127.0.0.1';
const TLS = path.join(__dirname, '../../fixtures/tls');

const certificate = () => ({
  key: fs.readFileSync(path.join(TLS, 'key.pem')),
  cert: fs.readFileSync(path.join(TLS, 'cert.pem')),
});

/**
 * The ports of a worker's servers, which it tells when all listen.
 *
 * @param {Record<string, any>} servers
 */
async function tellPorts(servers) {
  await Promise.all(Object.values(servers).map((server) => server.listening || once(server, 'listening')));
  const ports = Object.entries(servers).map(([name, server]) => [name, server.address().port]);
  process.send({ ports: Object.fromEntries(ports) });
}

/**
 * A client that says something and waits.
 *
 * @param {number} port
 * @param {string} [text]
 * @returns {Promise<{ socket: net.Socket, closed: Promise<unknown> }>} once it is connected
 */
async function client(port, text = '') {
  const socket = net.connect(port, HOST).resume();
  const closed = new Promise((resolve) => socket.on('error', () => {}).once('close', resolve));
  await once(socket, 'connect');
  if (text) socket.write(text);
  return { socket, closed };
}

/**
 * @param {any} request
 * @returns {Promise<{ headers: any, body: string }>}
 */
async function responseTo(request) {
  const [response] = await once(request, 'response');
  let body = '';
  for await (const part of response.setEncoding('utf8')) body += part;
  return { headers: response.headers, body };
}

/**
 * Clients of each kind that never end by themselves.
 *
 * @param {any} worker just forked
 * @returns {Promise<{ closed: Promise<unknown> }>} when all are there; and when all have been closed
 */
async function stubborn(worker) {
  const { ports } = await message(worker);
  const busy = message(worker, (text) => text === 'busy');
  const upgrade = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n';
  const clients = await Promise.all([
    client(ports.http, upgrade),
    client(ports.http, 'GET / HTTP/1.1\r\nHost:'),
    client(ports.http, 'GET /never HTTP/1.1\r\nHost: a\r\n\r\n'),
    client(ports.http),
    client(ports.net),
    client(ports.alone),
  ]);
  await busy;
  return { closed: Promise.all(clients.map(({ closed }) => closed)) };
}

/** A worker with them. */
async function serveStubborn() {
  let left = 3;
  const count = () => --left === 0 && process.send('busy');
  const server = http.createServer((request) => request.url === '/never' && count());
  server.on('upgrade', (_request, socket) => {
    socket.on('error', () => {});
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n');
    count();
  });
  const plain = net.createServer((socket) => {
    socket.on('error', () => {});
    count();
  });
  const alone = net.createServer((socket) => socket.on('error', () => {}));
  await tellPorts({
    http: server.listen(0, HOST),
    net: plain.listen(0, HOST),
    // The cluster does not know it.
    alone: alone.listen({ port: 0, host: HOST, exclusive: true }),
  });
}

/** Requests that are answered when the worker leaves, and not before. */
function answerWhenLeaving(cluster) {
  const waiting = [];
  cluster.worker.once('leaving', () => setImmediate(() => waiting.map((answer) => answer())));
  return (request, response) => {
    if (request.url === '/begun') {
      response.write('be');
      waiting.push(() => response.end('gun'));
    } else waiting.push(() => response.end('answered'));
    process.send({ asked: request.url });
  };
}

/** Leaves at its deadline. */
const atDeadline = (/** @type {(worker: any, cluster: any) => void} */ leave) => ({
  async primary({ cluster, fork }) {
    const worker = fork();
    const { closed } = await stubborn(worker);
    leave(worker, cluster);
    assert.equal(await next(worker, 'exit'), 0);
    assert.equal(worker.exitedAfterDisconnect, true);
    await closed;
  },
  async worker({ cluster }) {
    await serveStubborn();
    process.on('message', (drain) => cluster.worker.disconnect({ drain }));
  },
});

/** Leaves when its connections have been quiet. */
const quiet = (/** @type {(worker: any) => void} */ leave) => ({
  async primary({ fork }) {
    const worker = fork();
    const { ports } = await message(worker);
    const asked = message(worker, ({ connections }) => connections === 3);
    const clients = await Promise.all([
      client(ports.http, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'),
      client(ports.http),
      client(ports.https),
    ]);
    await asked;
    const exit = next(worker, 'exit');
    leave(worker);
    await Promise.all(clients.map(({ closed }) => closed));
    assert.equal(await exit, 0);
  },
  worker() {
    let connections = 0;
    const count = () => process.send({ connections: ++connections });
    const servers = [
      http.createServer({ keepAliveTimeout: 0 }, (_request, response) => response.end()),
      https.createServer(certificate()),
    ];
    for (const server of servers) server.on('connection', count).listen(0, HOST);
    return tellPorts({ http: servers[0], https: servers[1] });
  },
});

module.exports = {
  'at the deadline every connection is closed, and the worker goes': atDeadline((worker) =>
    worker.disconnect({ drain: 50 }),
  ),
  'so it is at once': atDeadline((worker) => worker.disconnect({ drain: 0 })),
  'so it is if all are to leave': atDeadline((_worker, cluster) => cluster.disconnect({ drain: 50 })),
  'so it is if the worker says so itself': atDeadline((worker) => worker.send(50)),
  'a deadline may be brought forward, and not put off': atDeadline((worker) => {
    worker.disconnect(NEVER);
    worker.disconnect({ drain: 50 });
    worker.disconnect(NEVER);
  }),
  'a deadline may be set later': atDeadline((worker) => {
    worker.disconnect();
    worker.disconnect({ drain: 50 });
  }),

  'what is under way is answered, and its clients are told that it was the last': {
    async primary({ fork }) {
      const worker = fork();
      const { ports } = await message(worker);
      const agents = [new http.Agent({ keepAlive: true }), new https.Agent({ keepAlive: true })];
      const sessions = ['http', 'https'].map((scheme) =>
        http2.connect(`${scheme}://${HOST}:${ports[`${scheme}2`]}`, { rejectUnauthorized: false }),
      );
      const asked = ['/1', '/2', '/3', '/4', '/begun'].map((path) =>
        message(worker, ({ asked }) => asked === path),
      );
      const over1 = [
        http.get({ port: ports.http, host: HOST, path: '/1', agent: agents[0] }),
        https.get({ port: ports.https, host: HOST, path: '/2', agent: agents[1], rejectUnauthorized: false }),
      ].map(responseTo);
      const over2 = sessions.map((session, index) => session.request({ ':path': `/${index + 3}` }));
      // It has told its client to stay.
      const begun = responseTo(http.get({ port: ports.http, host: HOST, path: '/begun', agent: agents[0] }));
      await Promise.all(asked);
      const goaways = sessions.map((session) => once(session, 'goaway'));
      const closes = sessions.map((session) => once(session, 'close'));
      const bodies = over2.map(async (stream) => (await stream.setEncoding('utf8').toArray()).join(''));
      const leaving = message(worker, ({ leaving }) => leaving);
      const exit = next(worker, 'exit');
      worker.disconnect(NEVER);
      assert.deepEqual(await leaving, { leaving: { reason: 'disconnect', ...NEVER } });
      for (const { headers, body } of await Promise.all(over1)) {
        assert.deepEqual([headers.connection, body], ['close', 'answered']);
      }
      assert.equal((await begun).body, 'begun');
      assert.equal((await begun).headers.connection, 'keep-alive');
      assert.deepEqual(await Promise.all(bodies), ['answered', 'answered']);
      await Promise.all([...goaways, ...closes]);
      assert.equal(await exit, 0);
    },
    worker({ cluster }) {
      cluster.worker.once('leaving', (leaving) => process.send({ leaving }));
      const answer = answerWhenLeaving(cluster);
      const servers = {
        // Its kept connections have no end of their own.
        http: http.createServer({ keepAliveTimeout: 0 }, answer),
        https: https.createServer(certificate(), answer),
        http2: http2.createServer(answer),
        https2: http2.createSecureServer(certificate(), answer),
      };
      for (const server of Object.values(servers)) server.listen(0, HOST);
      return tellPorts(servers);
    },
  },

  'a request that comes late on a connection is answered, and is the last there': {
    async primary({ fork }) {
      const worker = fork();
      const { ports } = await message(worker);
      const socket = net.connect(ports.http, HOST).setEncoding('latin1');
      let text = '';
      socket.on('data', (part) => {
        text += part;
      });
      const request = 'GET / HTTP/1.1\r\nHost: a\r\n';
      // The answer of the first shows that the half of the second has been read.
      socket.write(`${request}\r\n${request}`);
      await once(socket, 'data');
      const left = message(worker, (text) => text === 'leaving');
      const exit = next(worker, 'exit');
      worker.disconnect(NEVER);
      await left;
      socket.write('\r\n');
      await once(socket, 'close');
      const [first, second] = text.split('HTTP/1.1 ').slice(1);
      assert.match(first, /^200 OK[\s\S]*Connection: keep-alive/);
      assert.match(second, /^200 OK[\s\S]*Connection: close/);
      assert.equal(await exit, 0);
    },
    worker({ cluster }) {
      cluster.worker.once('leaving', () => process.send('leaving'));
      const server = http.createServer((_request, response) => response.end('answered'));
      return tellPorts({ http: server.listen(0, HOST) });
    },
  },

  'a kept connection stays for its next request, which is the last': {
    async primary({ fork }) {
      const worker = fork();
      const { ports } = await message(worker);
      const tls = { rejectUnauthorized: false };
      const agents = [new http.Agent({ keepAlive: true }), new https.Agent({ keepAlive: true })];
      const ask = () =>
        Promise.all([
          responseTo(http.get({ port: ports.http, host: HOST, agent: agents[0] })),
          responseTo(https.get({ port: ports.https, host: HOST, agent: agents[1], ...tls })),
        ]);
      const connections = async () => (await ask()).map(({ headers }) => headers.connection);
      assert.deepEqual(await connections(), ['keep-alive', 'keep-alive']);
      const closed = message(worker, (text) => text === 'closed');
      const exit = next(worker, 'exit');
      worker.disconnect({ ...NEVER, idle: LONGEST_TIMEOUT });
      await closed;
      assert.deepEqual(await connections(), ['close', 'close']);
      assert.equal(await exit, 0);
    },
    worker({ cluster }) {
      const servers = [
        http.createServer({ keepAliveTimeout: 0 }, (_request, response) => response.end()),
        https.createServer({ ...certificate(), keepAliveTimeout: 0 }, (_request, response) => response.end()),
      ];
      // A test of its own 'leaving' would come before the servers are closed.
      cluster.worker.once('leaving', () => setImmediate(() => setImmediate(() => process.send('closed'))));
      for (const server of servers) server.listen(0, HOST);
      return tellPorts({ http: servers[0], https: servers[1] });
    },
  },

  'connections that are quiet for long enough are closed, those included on which nothing has come': quiet(
    (worker) => worker.disconnect({ ...NEVER, idle: 50 }),
  ),

  'so they are if that is shortened later': quiet((worker) => {
    worker.disconnect({ ...NEVER, idle: LONGEST_TIMEOUT });
    worker.disconnect({ ...NEVER, idle: 50 });
  }),

  'so they are if an answer has told its client to stay': {
    async primary({ fork }) {
      const worker = fork();
      const { ports } = await message(worker);
      const agent = new http.Agent({ keepAlive: true });
      const asked = message(worker, ({ asked }) => asked === '/begun');
      const begun = responseTo(http.get({ port: ports.http, host: HOST, path: '/begun', agent }));
      await asked;
      const exit = next(worker, 'exit');
      worker.disconnect({ ...NEVER, idle: 50 });
      const { headers, body } = await begun;
      assert.deepEqual([headers.connection, body], ['keep-alive', 'begun']);
      assert.equal(await exit, 0);
    },
    worker({ cluster }) {
      const server = http.createServer({ keepAliveTimeout: 0 }, answerWhenLeaving(cluster));
      return tellPorts({ http: server.listen(0, HOST) });
    },
  },

  'what speaks HTTP on a server of another kind does no harm': {
    async primary({ fork }) {
      const worker = fork();
      await message(worker);
      worker.disconnect(NEVER);
      assert.equal(await next(worker, 'exit'), 0);
    },
    worker({ cluster }) {
      const server = net.createServer().listen(0, HOST, () => process.send('ready'));
      cluster.worker.once('leaving', () => {
        // As Node does it.
        const publish = () => diagnostics.channel('http.server.response.finish').publish({ server });
        process.nextTick(publish);
      });
    },
  },

  'a worker that has not loaded corral disconnects without a deadline': {
    async primary({ fork }) {
      const worker = fork('', { CORRAL_TEST_PLAIN: '1' });
      const { ports } = await message(worker);
      const connected = message(worker);
      const { socket } = await client(ports.net);
      await connected;
      const gone = next(worker, 'exit');
      worker.disconnect({ drain: 0 });
      await message(worker);
      socket.end();
      assert.equal(await gone, 0);
    },
    worker() {
      const server = net.createServer((socket) => {
        process.send('connected');
        const { close } = server;
        server.close = function (...args) {
          process.send('closing');
          return Reflect.apply(close, this, args);
        };
        socket.on('error', () => {}).resume();
      });
      return tellPorts({ net: server.listen(0, HOST) });
    },
  },

  'what is no number of milliseconds is refused, and nobody leaves': {
    async primary({ cluster, fork }) {
      const worker = fork();
      await next(worker, 'online');
      for (const leave of [worker.disconnect.bind(worker), cluster.disconnect]) {
        assert.throws(() => leave({ drain: '5' }), { code: 'ERR_INVALID_ARG_TYPE' });
        assert.throws(() => leave({ drain: null }), { code: 'ERR_INVALID_ARG_TYPE' });
        for (const drain of [-1, Number.NaN, LONGEST_TIMEOUT + 1]) {
          assert.throws(() => leave({ drain }), { code: 'ERR_OUT_OF_RANGE' });
        }
      }
      assert.throws(() => worker.disconnect({ drain: 5, idle: '5' }), { code: 'ERR_INVALID_ARG_TYPE' });
      assert.throws(() => worker.disconnect({ drain: 5, idle: -1 }), { code: 'ERR_OUT_OF_RANGE' });
      assert.throws(() => worker.disconnect({ idle: 5 }), { code: 'ERR_INVALID_ARG_VALUE' });
      assert.equal(worker.exitedAfterDisconnect, undefined);
      assert.equal(worker.isConnected(), true);
      // As a listener of a signal, which Node's takes for nothing.
      worker.disconnect('SIGTERM', 15);
      assert.equal(await next(worker, 'exit'), 0);
      await endAll(cluster);
    },
    worker({ cluster }) {
      assert.throws(() => cluster.worker.disconnect({ drain: '5' }), { code: 'ERR_INVALID_ARG_TYPE' });
    },
  },
};
