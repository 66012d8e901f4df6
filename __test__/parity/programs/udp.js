'use strict';
// Serialization: json advanced

// Datagram sockets in workers: always shared, whatever the policy.

const dgram = require('node:dgram');
const { once } = require('node:events');
const { run } = require('../scenario.js');
const { bind } = require('../sockets.js');

const LOCAL = '127.0.0.1';

/** @param {any} message */
function tell(message) {
  process.nextTick(() => process.send(message));
}

/** Binds as the primary says; answers datagrams until it is told to end. @param {any} t */
async function serve(t) {
  const { type, ...options } = JSON.parse(process.env.PARITY_BIND);
  const socket = dgram.createSocket(type);
  socket.on('close', () => t.log('close'));
  socket.on('message', (text, { port, address }) => socket.send(`got ${text}`, port, address));
  socket.on('error', (error) => {
    t.log('error', error);
    tell({ code: error.code });
  });
  socket.bind(options, () => {
    const { port, ...rest } = socket.address();
    t.log('listening', rest, port > 0);
    tell(socket.address());
  });
  process.on('message', (message) => {
    if (message === 'end') process.disconnect();
    else if (message === 'close') socket.close(() => tell('closed'));
    else if (message === 'disconnect') require('node:cluster').worker.disconnect();
  });
}

/** @param {any} t @param {number} count @param {any} options */
async function serveWith(t, count, options) {
  const workers = [];
  const addresses = [];
  for (let index = 0; index < count; index++) {
    workers.push(t.fork({ PARITY_BIND: JSON.stringify(options) }));
    addresses.push(await t.message(workers[index]));
  }
  return { workers, addresses };
}

/** @param {number} port @param {'udp4' | 'udp6'} [type] @param {string} [address] */
async function ping(port, type = 'udp4', address = LOCAL) {
  const client = await bind(type, { port: 0, address, exclusive: true });
  client.send('ping', port, address);
  const [text] = await once(client, 'message');
  client.close();
  return String(text);
}

/** @param {any[]} workers */
function end(workers) {
  for (const worker of workers) worker.send('end');
}

/** @param {any} options @param {string} address where to reach it */
function shared(options, address) {
  return {
    async primary(t) {
      const { workers, addresses } = await serveWith(t, 2, options);
      t.log('shared', addresses[0].port === addresses[1].port);
      t.log('answer', await ping(addresses[0].port, options.type, address));
      end(workers);
    },
    worker: serve,
  };
}

run({
  udp4: shared({ type: 'udp4', port: 0, address: LOCAL }, LOCAL),
  'udp4 without an address': shared({ type: 'udp4', port: 0 }, LOCAL),
  udp6: shared({ type: 'udp6', port: 0, address: '::1' }, '::1'),
  exclusive: {
    async primary(t) {
      const { workers, addresses } = await serveWith(t, 2, {
        type: 'udp4',
        port: 0,
        address: LOCAL,
        exclusive: true,
      });
      t.log('shared', addresses[0].port === addresses[1].port);
      t.log('answers', await ping(addresses[0].port), await ping(addresses[1].port));
      end(workers);
    },
    worker: serve,
  },
  'in use': {
    async primary(t) {
      const taken = await bind('udp4', { port: 0, address: LOCAL, exclusive: true });
      const { workers } = await serveWith(t, 2, { type: 'udp4', port: taken.address().port, address: LOCAL });
      end(workers);
      taken.close();
    },
    worker: serve,
  },
  'an address that is not here': {
    async primary(t) {
      end((await serveWith(t, 1, { type: 'udp4', port: 0, address: '192.0.2.1' })).workers);
    },
    worker: serve,
  },
  'one of two closes': {
    async primary(t) {
      const { workers, addresses } = await serveWith(t, 2, { type: 'udp4', port: 0, address: LOCAL });
      workers[0].send('close');
      await t.message(workers[0]);
      t.log('answer', await ping(addresses[0].port));
      end(workers);
    },
    worker: serve,
  },
  disconnect: {
    async primary(t) {
      const { workers, addresses } = await serveWith(t, 2, { type: 'udp4', port: 0, address: LOCAL });
      workers[0].disconnect();
      await once(workers[0], 'exit');
      t.log('answer', await ping(addresses[0].port));
      workers[1].send('disconnect');
      await t.ended();
      const again = await bind('udp4', { port: addresses[0].port, address: LOCAL, exclusive: true });
      t.log('free again', again.address().port === addresses[0].port);
      again.close();
    },
    worker: serve,
  },
  'bound by sending': {
    async primary(t) {
      const server = await bind('udp4', { port: 0, address: LOCAL, exclusive: true });
      const workers = [
        t.fork({ PARITY_PORT: server.address().port }),
        t.fork({ PARITY_PORT: server.address().port }),
      ];
      const ports = new Set();
      server.on('message', (_text, { port }) => ports.add(port));
      for (const worker of workers) await t.message(worker);
      while (ports.size < 2) await once(server, 'message');
      t.log('ports', ports.size);
      server.close();
      end(workers);
    },
    worker() {
      const socket = dgram.createSocket('udp4');
      socket.send('hello', Number(process.env.PARITY_PORT), LOCAL, () => tell('sent'));
      process.on('message', () => process.disconnect());
    },
  },
  'close in the listening event': {
    async primary(t) {
      const worker = t.fork();
      await t.message(worker);
      worker.disconnect();
    },
    worker(t) {
      const socket = dgram.createSocket('udp4');
      socket.on('close', () => {
        t.log('close');
        process.send('closed');
      });
      socket.bind(0, LOCAL, () => socket.close());
    },
  },
});
