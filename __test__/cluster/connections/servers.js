'use strict';

// Node's kinds of servers in workers.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');
const https = require('node:https');
const net = require('node:net');
const path = require('node:path');
const tls = require('node:tls');

const { ask, connect } = require('../../helpers/clients');
const { endAll, message, next, portOf } = require('../../helpers/events');

const TLS = path.join(__dirname, '../../fixtures/tls');
const identity = () => ({ key: fs.readFileSync(`${TLS}/key.pem`), cert: fs.readFileSync(`${TLS}/cert.pem`) });

/** What a client says to a server of ours that it cannot know. */
const trusting = { host: '127.0.0.1', rejectUnauthorized: false };

/** @param {any} stream */
async function read(stream) {
  let text = '';
  for await (const part of stream.setEncoding('utf8')) text += part;
  return text;
}

module.exports = {
  'http: requests on new connections, and many on one': {
    modes: ['json', 'advanced'],
    async primary({ cluster, fork }) {
      const workers = [fork(), fork()];
      const [port] = await Promise.all(workers.map(portOf));
      const body = 'x'.repeat(100_000);
      const request = async (/** @type {http.Agent | false} */ agent) => {
        const sent = http.request({ host: '127.0.0.1', port, agent, method: 'POST' });
        sent.end(body);
        const response = await next(sent, 'response');
        const text = await read(response);
        assert.equal(text.length, body.length + 2);
        return text[0];
      };
      const separate = new Set(await Promise.all(Array.from({ length: 20 }, () => request(false))));
      // As a rule both have answered by now; see askBoth.
      while (separate.size < 2) separate.add(await request(false));
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      const together = await Promise.all(Array.from({ length: 20 }, () => request(agent)));
      assert.equal(new Set(together).size, 1);
      agent.destroy();
      await endAll(cluster);
    },
    worker({ cluster }) {
      http
        .createServer(async (request, response) =>
          response.end(`${cluster.worker.id} ${await read(request)}`),
        )
        .listen(0, '127.0.0.1');
    },
  },

  https: {
    async primary({ cluster, fork }) {
      const workers = [fork(), fork()];
      const [port] = await Promise.all(workers.map(portOf));
      const ids = new Set();
      while (ids.size < 2) {
        const request = https.get({ ...trusting, port, agent: false });
        ids.add(await read(await next(request, 'response')));
      }
      await endAll(cluster);
    },
    worker({ cluster }) {
      https
        .createServer(identity(), (_request, response) => response.end(`${cluster.worker.id}`))
        .listen(0, '127.0.0.1');
    },
  },

  'http2: many streams on one connection': {
    async primary({ cluster, fork }) {
      const workers = [fork(), fork()];
      const [port] = await Promise.all(workers.map(portOf));
      const session = http2.connect(`https://127.0.0.1:${port}`, trusting);
      const ids = await Promise.all(
        Array.from({ length: 20 }, () => read(session.request({ ':path': '/' }))),
      );
      assert.equal(new Set(ids).size, 1);
      await new Promise((/** @type {(_: void) => void} */ resolve) => session.close(resolve));
      await endAll(cluster);
    },
    worker({ cluster }) {
      const server = http2.createSecureServer(identity(), (_request, response) =>
        response.end(`${cluster.worker.id}`),
      );
      server.listen(0, '127.0.0.1');
    },
  },

  'a TLS session begun with one worker is resumed by the other': {
    modes: ['json', 'advanced'],
    async primary({ cluster, fork }) {
      const workers = [fork(), fork()];
      const [port] = await Promise.all(workers.map(portOf));
      /** @type {Buffer | undefined} */
      let session;
      const ids = new Set();
      for (let i = 0; i < 4 || ids.size < 2; i++) {
        const socket = tls.connect({ ...trusting, port, session });
        socket.on('session', (ticket) => {
          session = ticket;
        });
        await next(socket, 'secureConnect');
        assert.equal(socket.isSessionReused(), i > 0, `connection ${i}`);
        ids.add(await read(socket));
      }
      const keys = await Promise.all(
        workers.map((worker) => {
          worker.send('keys');
          return message(worker);
        }),
      );
      assert.equal(keys[0].length, 96);
      assert.equal(keys[0], keys[1]);
      await endAll(cluster);
    },
    worker({ cluster }) {
      const server = tls
        .createServer(identity(), (socket) => socket.end(`${cluster.worker.id}`))
        .listen(0, '127.0.0.1');
      process.on('message', () => process.send(server.getTicketKeys().toString('hex')));
    },
  },

  'pauseOnConnect: nothing is read before the program says so': {
    async primary({ cluster, fork }) {
      const port = await portOf(fork());
      assert.equal((await ask(port, { text: 'early words' })).answer, 'paused 0, then early words');
      await endAll(cluster);
    },
    worker() {
      net
        .createServer({ pauseOnConnect: true }, async (socket) => {
          const { bytesRead } = socket;
          // The client's words are in the kernel by the time that another connection has come and gone.
          await comeAndGo();
          assert.equal(socket.isPaused(), true);
          assert.equal(socket.bytesRead, bytesRead);
          socket.once('data', (data) => socket.end(`paused ${bytesRead}, then ${data}\n`));
          socket.resume();
        })
        .listen(0, '127.0.0.1');
    },
  },

  'allowHalfOpen and the addresses of a socket are as without a cluster': {
    async primary({ cluster, fork }) {
      const port = await portOf(fork());
      const client = connect(port);
      await next(client, 'connect');
      client.end('question');
      const { localPort } = client;
      assert.deepEqual(JSON.parse(await read(client)), {
        question: 'question',
        localPort: port,
        localAddress: '127.0.0.1',
        remotePort: localPort,
        remoteAddress: '127.0.0.1',
        remoteFamily: 'IPv4',
        connections: 1,
      });
      await endAll(cluster);
    },
    worker() {
      const server = net.createServer({ allowHalfOpen: true }, async (socket) => {
        const { localPort, localAddress, remotePort, remoteAddress, remoteFamily } = socket;
        const addresses = { localPort, localAddress, remotePort, remoteAddress, remoteFamily };
        let question = '';
        socket.setEncoding('utf8').on('data', (part) => {
          question += part;
        });
        await next(socket, 'end');
        server.getConnections((_error, connections) => {
          socket.end(JSON.stringify({ question, ...addresses, connections }));
        });
      });
      server.listen(0, '127.0.0.1');
    },
  },
};

/** A connection of this process to a server of its own. */
async function comeAndGo() {
  const server = net
    .createServer((socket) => socket.end())
    .listen({ port: 0, host: '127.0.0.1', exclusive: true });
  await next(server, 'listening');
  const socket = connect(/** @type {net.AddressInfo} */ (server.address()).port);
  socket.resume();
  await next(socket, 'close');
  server.close();
}
