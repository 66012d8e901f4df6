'use strict';

// The worker's end of the message bench. It loads the cluster module of its side, or none.

const { loadCluster } = require('../lib/side');
const { Receiver, Sender, WORKER_VARIABLE } = require('./ipc-traffic');

if (process.env[WORKER_VARIABLE] === 'corral') loadCluster();

const peer = { send: (/** @type {any} */ message) => process.send?.(message) };
const receiver = new Receiver(peer);
/** @type {Sender | undefined} */
let sender;

process.on('message', async (/** @type {any} */ message) => {
  switch (message.type) {
    case 'ping':
      peer.send(message);
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
    case 'cpu':
      peer.send({ type: 'answer', result: receiver.cpuPerMessage() });
      break;
    case 'send':
      sender = new Sender(peer, message.test);
      peer.send({ type: 'answer', result: await sender.run(message.seconds) });
      break;
  }
});
process.on('SIGINT', () => {});
