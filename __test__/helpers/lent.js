'use strict';

// Channels that the event loop of the primary reads itself, because nothing but messages comes on them.

const net = require('node:net');

const { next, until } = require('./events');
const { pollersOf } = require('./proc');

/** In a worker: sends messages, so that its channel is read directly sooner or later. */
function chatter() {
  const interval = setInterval(() => process.send?.('tick'), 10);
  process.on('message', (value) => {
    if (value === 'quiet') clearInterval(interval);
  });
  process.once('disconnect', () => clearInterval(interval));
}

/**
 * By what this thread's event loop waits: the one that waits for a socket of its own.
 *
 * @returns {Promise<string>}
 */
async function eventLoop() {
  const server = net.createServer().listen({ port: 0, host: '127.0.0.1', exclusive: true });
  await next(server, 'listening');
  const { fd } = /** @type {any} */ (server)._handle;
  await until(() => pollersOf(fd).length > 0);
  const [poller] = pollersOf(fd);
  server.close();
  return poller;
}

/**
 * Waits until the channel of a worker that chatters is lent: only the event loop waits for it. The reactor does as well
 * for a moment after it has lent a channel, and then again whenever a message is late; but so it does when it has taken
 * a channel back, until the event loop has come to know of that.
 *
 * @param {any} worker
 */
async function lent(worker) {
  const own = await eventLoop();
  // Its descriptor is another one when it has moved over to the socket between two corrals.
  await until(() => pollersOf(worker.process.channel.fd).join() === own);
}

module.exports = { chatter, eventLoop, lent };
