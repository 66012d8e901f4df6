'use strict';

// `for await (const message of channel)`. Unlike events.on it puts back what a loop that is left has not taken, and lets
// the channel read on.

const { discard } = require('../handles');

/** How many messages a loop may be behind before the peer has to wait, and before it may go on. */
const HIGH_WATER = 64;
const LOW_WATER = 16;

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
      // The loop gets messages only: nobody else would close it.
      if (handle !== undefined && channel.listenerCount('message') === 1) discard(handle);
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
  for (const [name, listener] of Object.entries(listeners)) channel.on(name, listener);
  channel.messaging.deliverUnheard();
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
    for (const [name, listener] of Object.entries(listeners)) channel.removeListener(name, listener);
    channel.messaging.putBack(queue);
    if (isPaused) wantMessages(true);
  }
}

module.exports = { iterate };
