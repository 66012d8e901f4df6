'use strict';
// Lanes: with without

// cluster.disconnect: its callback, what becomes of servers and connections, and calling it more than once.

const http = require('node:http');
const net = require('node:net');
const { once } = require('node:events');
const { cluster, run, stateOf } = require('../scenario.js');
const { connect, readAll, ask } = require('../sockets.js');

/** @param {any} t @param {any[]} workers */
function disconnectAll(t, workers) {
  return new Promise((resolve) => {
    const result = cluster.disconnect(function (...args) {
      t.log('callback', args, this === undefined || this === globalThis || this instanceof Object);
      t.to('callback time')('still connected', workers.filter((worker) => worker.isConnected()).length);
      resolve(undefined);
    });
    t.log(
      'returned',
      result,
      Object.keys(cluster.workers).length,
      workers.map((worker) => stateOf(worker)),
    );
  });
}

run({
  'without workers': {
    async primary(t) {
      let called = false;
      const done = new Promise((resolve) =>
        cluster.disconnect(() => {
          called = true;
          resolve(undefined);
        }),
      );
      t.log('at once', called);
      await done;
      t.log('called back');
      t.log(
        'without a callback',
        cluster.disconnect(),
        cluster.disconnect('not a function'),
        cluster.disconnect(null),
      );
    },
  },
  'three workers': {
    async primary(t) {
      const workers = [t.fork(), t.fork(), t.fork()];
      await Promise.all(workers.map((worker) => once(worker, 'online')));
      await disconnectAll(t, workers);
    },
  },
  'workers that are not online yet': {
    async primary(t) {
      await disconnectAll(t, [t.fork(), t.fork()]);
    },
  },
  twice: {
    async primary(t) {
      const worker = t.fork();
      await once(worker, 'online');
      await Promise.all([disconnectAll(t, [worker]), disconnectAll(t, [worker])]);
    },
  },
  'with a server': {
    async primary(t) {
      const workers = [t.fork(), t.fork()];
      const [[info]] = await Promise.all(workers.map((worker) => once(worker, 'listening')));
      t.log('before', await ask(info.port));
      await disconnectAll(t, workers);
      await t.ended();
      t.log('after', await ask(info.port));
    },
    worker() {
      net.createServer((socket) => socket.end('served')).listen(0, '127.0.0.1');
    },
  },
  'a connection keeps its worker until it ends': {
    async primary(t) {
      const worker = t.fork();
      const [info] = await once(worker, 'listening');
      const socket = await connect(info.port);
      const text = readAll(socket);
      await t.message(worker);
      worker.disconnect();
      const refused = await t.message(worker);
      t.log('the worker closes its servers first', refused, stateOf(worker), await ask(info.port));
      socket.write('finish');
      t.log('the connection', await text);
      socket.end();
    },
    worker(t) {
      const server = net.createServer((socket) => {
        process.send('connected');
        socket.on('data', (data) => socket.end(`worker got ${data}`));
      });
      server.listen(0, '127.0.0.1');
      // The request to close comes after everything else on the channel; `listening` is false from then on.
      process.on('internalMessage', (message) => {
        if (message.act === 'disconnect') setImmediate(() => process.send({ listening: server.listening }));
      });
      server.on('close', () => t.log('server closed'));
      process.on('disconnect', () => t.log('disconnected'));
    },
  },
  'the worker disconnects while it serves': {
    async primary(t) {
      const worker = t.fork();
      const [info] = await once(worker, 'listening');
      const response = await fetch(`http://127.0.0.1:${info.port}/`);
      t.log('response', response.status, await response.text());
      await t.ended();
      t.log('after', await ask(info.port));
    },
    worker(t) {
      const server = http.createServer((_request, response) => {
        response.end('last one');
        cluster.worker.disconnect();
      });
      server.keepAliveTimeout = 50;
      server.on('close', () => t.log('server closed'));
      process.on('disconnect', () => t.log('disconnected'));
      server.listen(0, '127.0.0.1');
    },
  },
  'another worker goes on': {
    async primary(t) {
      const workers = [t.fork(), t.fork()];
      const [[info]] = await Promise.all(workers.map((worker) => once(worker, 'listening')));
      workers[0].disconnect();
      await once(workers[0], 'exit');
      const answers = [];
      for (let round = 0; round < 4; round++) answers.push(await ask(info.port));
      t.log('answers', answers);
      workers[1].disconnect();
    },
    worker() {
      net.createServer((socket) => socket.end(process.env.PARITY_SIDE)).listen(0, '127.0.0.1');
    },
  },
  'another worker goes on after a kill': {
    async primary(t) {
      const workers = [t.fork(), t.fork()];
      const [[info]] = await Promise.all(workers.map((worker) => once(worker, 'listening')));
      workers[1].process.kill('SIGKILL');
      await once(workers[1], 'exit');
      if (workers[1].isConnected()) await once(workers[1], 'disconnect');
      const answers = [];
      for (let round = 0; round < 4; round++) answers.push(await ask(info.port));
      t.log('answers', answers);
      const again = t.fork();
      await once(again, 'listening');
      const set = new Set();
      // One that was kept from running looks blocked for a moment, and gets nothing then.
      while (set.size < 2) set.add(await ask(info.port));
      t.log('with a new one', [...set].sort());
      workers[0].disconnect();
      again.disconnect();
    },
    worker() {
      net.createServer((socket) => socket.end(process.env.PARITY_SIDE)).listen(0, '127.0.0.1');
    },
  },
});
