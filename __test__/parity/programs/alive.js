'use strict';
// Lanes: with without

// What keeps a primary or a worker alive, and what the one does when the other ends. Each is a program of its own:
// its output, its exit code and that it ends at all are the trace.

const net = require('node:net');
const { once } = require('node:events');
const { cluster, run, runAlone } = require('../scenario.js');

/** Ends the worker in the end, whatever the primary does: it must not outlive the test. */
const LIMIT_MS = 60_000;

/** @typedef {{ primary: (fork: () => any) => unknown, worker?: () => unknown }} Program */

/** Lets this process end whatever its workers do. @param {any} worker */
function letGo(worker) {
  worker.process.unref();
  worker.process.channel.unref();
}

/**
 * A worker's side: does something a while after its primary has said that it is ready.
 *
 * @param {() => unknown} act
 */
function whenTold(act) {
  return () => process.on('message', () => setTimeout(act, 100));
}

/** @type {Record<string, Program>} */
const programs = {
  'no workers': { primary: () => cluster.setupPrimary() },
  'a listener for messages and no workers': { primary: () => cluster.on('message', () => {}) },
  'until the worker has gone': {
    primary(fork) {
      const worker = fork();
      worker.on('exit', () => console.log('exit'));
      process.on('exit', () => console.log('the primary ends', worker.isDead(), worker.isConnected()));
    },
    worker: () => setTimeout(() => process.disconnect(), 50),
  },
  'a worker without the channel keeps the primary': {
    primary(fork) {
      const worker = fork();
      worker.on('disconnect', () => console.log('disconnect'));
      worker.on('exit', (code) => console.log('exit', code));
    },
    worker() {
      cluster.worker.disconnect();
      setTimeout(() => process.exit(3), 200);
    },
  },
  'unref of process and channel lets the primary go': {
    async primary(fork) {
      const worker = fork();
      await once(worker, 'online');
      letGo(worker);
      process.on('exit', () => console.log('the primary ends', worker.isDead(), worker.isConnected()));
    },
  },
  'unref of the process alone does not': {
    async primary(fork) {
      const worker = fork();
      await once(worker, 'online');
      worker.process.unref();
      process.on('exit', () => console.log('the primary ends', worker.isConnected()));
    },
    worker: () => setTimeout(() => process.exit(), 100),
  },
  'unref of the channel alone does not': {
    async primary(fork) {
      const worker = fork();
      await once(worker, 'online');
      worker.process.channel.unref();
      worker.on('exit', () => console.log('exit'));
      process.on('exit', () => console.log('the primary ends'));
      worker.send('go');
    },
    worker: whenTold(() => process.exit()),
  },
  'ref after unref': {
    async primary(fork) {
      const worker = fork();
      await once(worker, 'online');
      letGo(worker);
      worker.process.channel.ref();
      process.on('exit', () => console.log('the primary ends', worker.isConnected()));
      worker.send('go');
    },
    worker: whenTold(() => process.disconnect()),
  },
  'a server keeps a primary that lets go of its worker': {
    async primary(fork) {
      const worker = fork();
      const [info] = await once(worker, 'listening');
      letGo(worker);
      setTimeout(() => {
        console.log('still here', info.port > 0);
        worker.disconnect();
      }, 100).unref();
      process.on('exit', () => console.log('the primary ends'));
    },
    worker: () => net.createServer().listen(0, '127.0.0.1'),
  },
  'messages are written before the primary ends': {
    primary(fork) {
      const worker = fork();
      worker.send('one');
      worker.send('two', () => console.log('sent'));
      worker.on('exit', (code) => console.log('exit', code));
    },
    worker() {
      let count = 0;
      process.on('message', (message) => {
        count++;
        if (message === 'two') process.exit(count);
      });
    },
  },
  'the primary exits': {
    async primary(fork) {
      const worker = fork();
      await once(worker, 'online');
      console.log('exit now');
      process.exit(6);
    },
    worker() {
      process.on('disconnect', () => console.log('worker: disconnect', cluster.worker.exitedAfterDisconnect));
      process.on('exit', (code) => console.log('worker: exit', code));
    },
  },
  'the primary throws': {
    async primary(fork) {
      const worker = fork();
      await once(worker, 'online');
      setImmediate(() => {
        throw new Error('nobody catches this');
      });
    },
    worker: () => process.on('exit', (code) => console.log('worker: exit', code)),
  },
  'the primary is killed': {
    async primary(fork) {
      const worker = fork();
      await once(worker, 'online');
      process.kill(process.pid, 'SIGKILL');
    },
    worker: () => process.on('exit', (code) => console.log('worker: exit', code)),
  },
  'exit listeners of the primary': {
    primary(fork) {
      fork();
      process.on('beforeExit', () => console.log('beforeExit', Object.keys(cluster.workers).length));
      process.on('exit', (code) => console.log('exit', code));
    },
    worker: () => process.exit(2),
  },
  'exit code of the primary': {
    primary(fork) {
      process.exitCode = 8;
      fork();
    },
    worker: () => process.exit(2),
  },
  'a worker with nothing to do stays': {
    async primary(fork) {
      const worker = fork();
      const [message] = await once(worker, 'message');
      console.log(message);
      worker.disconnect();
      console.log('exit', ...(await once(worker, 'exit')));
    },
    worker: () => setTimeout(() => process.send('still here'), 150).unref(),
  },
  'a worker that lets go of its channel ends': {
    async primary(fork) {
      const worker = fork();
      console.log('exit', ...(await once(worker, 'exit')));
    },
    worker: () => process.channel.unref(),
  },
  'a worker that takes it back stays': {
    async primary(fork) {
      const worker = fork();
      const [message] = await once(worker, 'message');
      console.log(message);
      worker.process.kill();
      console.log('exit', ...(await once(worker, 'exit')));
    },
    worker() {
      process.channel.unref();
      process.channel.ref();
      setTimeout(() => process.send('still here'), 100).unref();
    },
  },
  'a worker that closed its server stays': {
    async primary(fork) {
      const worker = fork();
      const [message] = await once(worker, 'message');
      console.log(message);
      worker.disconnect();
      console.log('exit', ...(await once(worker, 'exit')));
    },
    worker() {
      const server = net
        .createServer()
        .listen(0, '127.0.0.1', () => server.close(() => process.send('closed')));
    },
  },
  'a worker that lets go of channel and server ends': {
    async primary(fork) {
      const worker = fork();
      console.log('exit', ...(await once(worker, 'exit')));
    },
    worker() {
      const server = net.createServer().listen(0, '127.0.0.1', () => {
        server.unref();
        process.channel.unref();
      });
    },
  },
  'a server keeps a worker that lets go of its channel': {
    async primary(fork) {
      const worker = fork();
      const [info] = await once(worker, 'listening');
      const socket = net.connect(info.port, '127.0.0.1').setEncoding('utf8');
      const [text] = await once(socket, 'data');
      console.log(text);
      socket.destroy();
      worker.process.kill();
      console.log('exit', ...(await once(worker, 'exit')));
    },
    worker() {
      net
        .createServer((socket) => socket.end('still here'))
        .listen(0, '127.0.0.1', () => process.channel.unref());
    },
  },
  'refs of the channel object': {
    async primary(fork) {
      const worker = fork();
      const { channel } = worker.process;
      console.log(typeof channel.ref, typeof channel.unref, typeof channel.fd, channel.fd > 2);
      console.log(channel.ref(), channel.unref(), channel.ref());
      await once(worker, 'exit');
      if (worker.isConnected()) await once(worker, 'disconnect');
      console.log(worker.process.channel);
      channel.ref();
      channel.unref();
    },
    worker: () => process.exit(),
  },
};

if (process.env.PARITY_ALONE) {
  const { primary, worker } = programs[process.env.PARITY_ALONE];
  if (cluster.isPrimary) {
    primary(() => cluster.fork());
  } else {
    setTimeout(() => process.exit(99), LIMIT_MS).unref();
    worker?.();
  }
} else {
  run(Object.fromEntries(Object.keys(programs).map((name) => [name, { primary: (t) => runAlone(t, name) }])));
}
