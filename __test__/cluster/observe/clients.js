'use strict';

// Clients that want to hold up others, or to use up memory.

const assert = require('node:assert/strict');
const net = require('node:net');

const { next, until } = require('../../helpers/events');
const { get, samplesOf } = require('../../helpers/scrape');

/** As admission.rs has it. */
const MAX_CONNECTIONS = 128;
const MAX_FOLLOWERS = 32;

/** @param {number} port @param {string} [text] to send */
async function silent(port, text = '') {
  const socket = net.connect(port, '127.0.0.1');
  socket.on('error', () => {});
  await next(socket, 'connect');
  socket.write(text);
  return socket;
}

module.exports = {
  'a thousand clients that say nothing, or little, hold up nobody': {
    timeout: 180_000,
    async primary({ cluster }) {
      const { port } = cluster.observe({ port: 0 }).address();
      const sockets = [];
      let closed = 0;
      for (let count = 0; count < 1000; count += 1) {
        const socket = await silent(port, count % 2 ? 'GET /metrics HTTP/1.1\r\nx-slow: ' : '');
        socket.on('close', () => {
          closed += 1;
        });
        socket.resume();
        sockets.push(socket);
      }
      const samples = samplesOf((await get(port, '/metrics')).body);
      assert.ok(samples.get('corral_observe_connections') <= MAX_CONNECTIONS);
      assert.ok(samples.get('corral_observe_evicted_connections_total') >= 1000 - MAX_CONNECTIONS);
      await until(() => closed >= 1000 - MAX_CONNECTIONS);
      for (const socket of sockets) socket.destroy();
    },
  },

  'a head that is too long is refused': {
    async primary({ cluster }) {
      const { port } = cluster.observe({ port: 0 }).address();
      const socket = await silent(port, `GET /metrics HTTP/1.1\r\nhost: localhost\r\nx-long: `);
      let received = '';
      socket.on('data', (part) => {
        received += part;
      });
      const closed = next(socket, 'close');
      const more = () => socket.writable && socket.write('x'.repeat(4096), () => setImmediate(more));
      more();
      await closed;
      assert.match(received, /^(HTTP\/1\.1 431 .*)?/);
      assert.doesNotMatch(received, /200 OK/);
      assert.equal((await get(port, '/health')).status, 200);
    },
  },

  'who does not read its answers is closed before they use up memory': {
    timeout: 180_000,
    async primary({ cluster }) {
      const { port } = cluster.observe({ port: 0 }).address();
      // Each asks for far more than the kernel takes for it, and reads nothing.
      const request = 'GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n'.repeat(200);
      const sockets = [];
      for (let count = 0; count < 100; count += 1) {
        const socket = await silent(port, request);
        socket.pause();
        sockets.push(socket);
      }
      for (const _ of Array.from({ length: 10 })) assert.equal((await get(port, '/metrics')).status, 200);
      const samples = samplesOf((await get(port, '/metrics')).body);
      // A hundred answers of some 10 KiB, and what the kernel has.
      assert.ok(samples.get('corral_observe_connections') <= MAX_CONNECTIONS);
      for (const socket of sockets) socket.destroy();
    },
  },

  'no more clients may follow events than leave room for others': {
    async primary({ cluster }) {
      const { port } = cluster.observe({ port: 0 }).address();
      const request = 'GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n';
      const sockets = [];
      for (let count = 0; count < MAX_FOLLOWERS; count += 1) {
        const socket = await silent(port, request);
        await next(socket, 'data');
        sockets.push(socket);
      }
      assert.equal((await get(port, '/events')).status, 503);
      sockets.pop().destroy();
      await until(async () => {
        const samples = samplesOf((await get(port, '/metrics')).body);
        return samples.get('corral_observe_followers') === MAX_FOLLOWERS - 1;
      });
      for (const socket of sockets) socket.destroy();
    },
  },
};
