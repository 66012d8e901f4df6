'use strict';

// The primary's end of the message bench: one worker, messages both ways. The same file on both sides.

const path = require('node:path');
const { loadCluster } = require('../lib/side');
const { serve } = require('../lib/remote');
const { latencySummary } = require('../lib/stats');
const { Receiver, Sender } = require('./ipc-traffic');

const cluster = loadCluster();
const serialization = /** @type {'json' | 'advanced'} */ (process.argv[2]);
cluster.setupPrimary({ exec: path.join(__dirname, 'ipc-worker.js'), serialization });
const worker = cluster.fork();
const receiver = new Receiver(worker);
/** @type {Sender | undefined} */
let sender;
/** @type {(result: any) => void} */
let onAnswer = () => {};
let onPong = () => {};

worker.on('message', (message) => {
  switch (message.type) {
    case 'ping':
      onPong();
      break;
    case 'item':
      receiver.item();
      break;
    case 'begin':
      receiver.begin(message.every);
      break;
    case 'progress':
      sender?.onProgress(message.received);
      break;
    case 'answer':
      onAnswer(message.result);
      break;
  }
});

/** @param {any} message a question to the worker */
function askWorker(message) {
  return new Promise((resolve) => {
    onAnswer = resolve;
    worker.send(message);
  });
}

/**
 * @typedef {{ size: import('./ipc-traffic').Size, seconds: number }} Test
 */

serve(
  {
    // The worker's first answer: from here on both ends are up.
    ready: () => askWorker({ type: 'cpu' }),
    /** @param {Test} test */
    async toWorker({ size, seconds }) {
      sender = new Sender(worker, { size, serialization });
      const { rate, cpu } = await sender.run(seconds);
      return { rate, primaryCpu: cpu, workerCpu: await askWorker({ type: 'cpu' }) };
    },
    /** @param {Test} test */
    async toPrimary({ size, seconds }) {
      const { rate, cpu } = await askWorker({ type: 'send', test: { size, serialization }, seconds });
      return { rate, workerCpu: cpu, primaryCpu: receiver.cpuPerMessage() };
    },
    /** @param {number} seconds */
    roundTrip(seconds) {
      /** @type {number[]} */
      const times = [];
      const end = performance.now() + seconds * 1000;
      return new Promise((resolve) => {
        let sentAt = 0;
        const ping = () => {
          sentAt = performance.now();
          worker.send({ type: 'ping' });
        };
        onPong = () => {
          const now = performance.now();
          times.push((now - sentAt) * 1000);
          if (now < end) ping();
          else resolve(latencySummary(times));
        };
        ping();
      });
    },
  },
  () => worker.process.kill('SIGKILL'),
);
