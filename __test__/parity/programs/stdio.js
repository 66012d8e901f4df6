'use strict';

// Standard streams of workers: silent, stdio in all its forms, and where the channel is among them.

const fs = require('node:fs');
const path = require('node:path');
const net = require('node:net');
const { once } = require('node:events');
const { cluster, run, SCRATCH } = require('../scenario.js');

/** @param {import('node:stream').Readable} stream */
async function textOf(stream) {
  const parts = [];
  for await (const part of stream) parts.push(String(part));
  return parts.join('');
}

/** What kind of thing each entry is, and the names by which the first three go. @param {any} worker */
function describe(worker) {
  const { stdio, stdin, stdout, stderr } = worker.process;
  return {
    stdio: stdio.map((entry) => entry && { readable: entry.readable, writable: entry.writable, kind: entry }),
    named: [stdin === stdio[0], stdout === stdio[1], stderr === stdio[2]],
  };
}

/** @param {any} settings */
function forkWith(t, settings) {
  cluster.settings = {};
  cluster.setupPrimary(settings);
  const worker = t.fork();
  cluster.settings = {};
  t.log('stdio', describe(worker));
  return worker;
}

/** @param {any} settings */
function writesBoth(settings) {
  return {
    async primary(t) {
      const worker = forkWith(t, settings);
      const texts = await Promise.all(
        [worker.process.stdout, worker.process.stderr].map((stream) => stream && textOf(stream)),
      );
      t.log('got', texts);
      if (worker.process.stdin) t.log('stdin', worker.process.stdin.destroyed);
    },
    worker() {
      process.stdout.write('to stdout\n');
      process.stderr.write('to stderr\n');
      process.send('written', () => process.disconnect());
    },
  };
}

run({
  default: {
    primary: (t) => forkWith(t, {}),
    worker: () => process.disconnect(),
  },
  silent: writesBoth({ silent: true }),
  'stdio pipe': writesBoth({ stdio: 'pipe' }),
  'stdio ignore': writesBoth({ stdio: 'ignore' }),
  'silent and stdio': writesBoth({ silent: true, stdio: ['ignore', 'pipe', 'ignore', 'ipc'] }),
  'array of pipes': writesBoth({ stdio: ['pipe', 'pipe', 'pipe', 'ipc'] }),
  'the channel first': {
    async primary(t) {
      const worker = forkWith(t, { stdio: ['ipc', 'pipe', 'pipe'] });
      t.log('got', await textOf(worker.process.stdout));
    },
    worker() {
      process.stdout.write('the channel is 0');
      process.send('written', () => process.disconnect());
    },
  },
  'more pipes, the channel last': {
    async primary(t) {
      const worker = forkWith(t, { stdio: ['pipe', 'pipe', 'inherit', 'pipe', null, undefined, 'ipc'] });
      worker.process.stdio[3].end('hello');
      t.log('got', await textOf(worker.process.stdio[3]));
    },
    worker() {
      const pipe = new net.Socket({ fd: 3 });
      pipe.once('data', (data) => pipe.end(`worker got ${data}`, () => process.disconnect()));
    },
  },
  'stdin to the worker': {
    async primary(t) {
      const worker = forkWith(t, { silent: true });
      worker.process.stdin.end('typed');
      t.log('got', await textOf(worker.process.stdout));
    },
    async worker() {
      process.stdout.write(`worker read ${await textOf(process.stdin)}`);
      process.disconnect();
    },
  },
  'file descriptors and streams': {
    async primary(t) {
      const file = path.join(SCRATCH, 'out');
      const out = fs.openSync(file, 'w');
      const stream = fs.createWriteStream(path.join(SCRATCH, 'err'));
      await once(stream, 'open');
      forkWith(t, { stdio: ['ignore', out, stream, 'ipc'] });
      await t.ended();
      fs.closeSync(out);
      stream.close();
      t.log('got', fs.readFileSync(file, 'utf8'), fs.readFileSync(path.join(SCRATCH, 'err'), 'utf8'));
    },
    worker() {
      process.stdout.write('to the file');
      process.stderr.write('to the stream');
      process.disconnect();
    },
  },
  inherited: {
    primary: (t) => forkWith(t, { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] }),
    worker() {
      // This is part of what the whole program prints.
      process.stdout.write('inherited\n', () => process.disconnect());
    },
  },
  'the array is not changed': {
    async primary(t) {
      const stdio = ['ignore', 'ignore', 'ignore', 'ipc'];
      forkWith(t, { stdio });
      t.log('afterwards', stdio);
    },
    worker: () => process.disconnect(),
  },
  'a silent worker that nobody reads from ends': {
    primary: (t) => forkWith(t, { silent: true }),
    worker() {
      process.stdout.write('x'.repeat(1000));
      process.disconnect();
    },
  },
});
