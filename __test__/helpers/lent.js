'use strict';

// Channels that the event loop of the primary reads itself, because nothing but messages comes on them.

const { until } = require('./events');
const { pollersOf } = require('./proc');

/** In a worker: sends messages, so that its channel is read directly sooner or later. */
function chatter() {
  const interval = setInterval(() => process.send?.('tick'), 10);
  process.on('message', (value) => {
    if (value === 'quiet') clearInterval(interval);
  });
  process.once('disconnect', () => clearInterval(interval));
}

/** Who waited for a worker's channel first: the reactor. @type {WeakMap<object, string>} */
const reactors = new WeakMap();

/**
 * Waits until the reactor watches the channel of a worker that has just been forked: later it may be lent already.
 *
 * @param {any} worker
 */
async function watchedByReactor(worker) {
  const { fd } = worker.process.channel;
  await until(() => pollersOf(fd).length === 1);
  reactors.set(worker, pollersOf(fd)[0]);
}

/**
 * Waits until the event loop watches the channel of a worker that chatters.
 *
 * @param {any} worker new, the first time
 */
async function lent(worker) {
  const { fd } = worker.process.channel;
  if (!reactors.has(worker)) await watchedByReactor(worker);
  await until(() => pollersOf(fd).some((poller) => poller !== reactors.get(worker)));
}

module.exports = { chatter, lent, watchedByReactor };
