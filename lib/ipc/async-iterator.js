'use strict';

// `for await (const message of channel)`. Unlike events.on it puts back the messages that a loop has not taken when
// it is left, and lets the channel read on.

const { discard } = require('../channel/discard');

/** How many messages a loop may be behind before the peer has to wait, and before it may go on. */
const HIGH_WATER = 64;
const LOW_WATER = 16;

/** The listeners of the loops of each channel. @type {WeakMap<object, Set<Function>>} */
const loops = new WeakMap();

/**
 * Whether a loop is to close the handle that comes with a message: nobody else would, and one of several does.
 *
 * @param {any} channel
 * @param {Function} listener
 */
function closesHandles(channel, listener) {
  const own = loops.get(channel) ?? new Set();
  return channel.listenerCount('message') === own.size && own.values().next().value === listener;
}

/**
 * @param {any} channel an ipc Channel
 * @param {(isWanted: boolean) => void} wantMessages whether to go on reading
 * @returns {AsyncGenerator<any, void, undefined>}
 */
async function* iterate(channel, wantMessages) {
  /** @type {any[]} */
  const queue = [];
  let wake = () => {};
  let isPaused = false;
  let hasEnded = false;
  /** @type {{ error: Error } | undefined} */
  let failure;
  const listeners = {
    message: (/** @type {any} */ message, /** @type {any} */ handle) => {
      if (handle !== undefined && closesHandles(channel, listeners.message)) discard(handle);
      queue.push(message);
      if (queue.length >= HIGH_WATER && !isPaused) {
        isPaused = true;
        wantMessages(false);
      }
      wake();
    },
    error: (/** @type {Error} */ error) => {
      failure = { error };
      wake();
    },
    disconnect: () => {
      hasEnded = true;
      wake();
    },
    close: () => {
      hasEnded = true;
      wake();
    },
  };
  const own = loops.get(channel) ?? new Set();
  loops.set(channel, own.add(listeners.message));
  for (const [name, listener] of Object.entries(listeners)) channel.on(name, listener);
  channel.messaging.incoming.deliver();
  if (!channel.connected && !channel.connecting) hasEnded = true;
  try {
    for (;;) {
      while (queue.length > 0) {
        const message = queue.shift();
        if (isPaused && queue.length <= LOW_WATER) {
          isPaused = false;
          wantMessages(true);
        }
        yield message;
      }
      if (failure) throw failure.error;
      if (hasEnded) return;
      await new Promise((resolve) => {
        wake = () => resolve(undefined);
      });
    }
  } finally {
    own.delete(listeners.message);
    for (const [name, listener] of Object.entries(listeners)) channel.removeListener(name, listener);
    channel.messaging.incoming.putBack(queue);
    if (isPaused) wantMessages(true);
  }
}

module.exports = { iterate };
