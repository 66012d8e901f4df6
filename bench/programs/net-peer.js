'use strict';

// One of two unrelated processes that pass messages over a path, by the transport that its argument names.

const { serve } = require('../lib/remote');
const { latencySummary } = require('../lib/stats');
const { transport } = require('../lib/transports');
const { Receiver, Sender } = require('./ipc-traffic');

/** @typedef {import('../lib/transports').Peer} Peer */

const name = process.argv[2];
const serialization = name === 'corral-advanced' ? 'advanced' : 'json';
/** @type {Peer} */
let peer;
/** @type {Receiver} */
let receiver;
/** @type {Sender | undefined} */
let sender;
let onPong = () => {};

/** @param {Peer} connected */
function attach(connected) {
  peer = connected;
  receiver = new Receiver(peer);
  return (/** @type {any} */ message) => {
    switch (message.type) {
      case 'ping':
        peer.send({ type: 'pong' });
        break;
      case 'pong':
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
    }
  };
}

serve({
  /** @param {string} path */
  listen: (path) => transport(name).listen(path, attach),
  /** @param {string} path */
  connect: (path) => transport(name).connect(path, attach),
  /** @param {{ size: import('./ipc-traffic').Size, seconds: number }} test */
  send({ size, seconds }) {
    sender = new Sender(peer, { size, serialization });
    return sender.run(seconds);
  },
  cpu: () => receiver.cpuPerMessage(),
  /** @param {number} seconds */
  roundTrip(seconds) {
    /** @type {number[]} */
    const times = [];
    const end = performance.now() + seconds * 1000;
    return new Promise((resolve) => {
      let sentAt = 0;
      const ping = () => {
        sentAt = performance.now();
        peer.send({ type: 'ping' });
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
});
