'use strict';

// `for await (const message of channel)`.

/** How many messages a loop may be behind before the peer has to wait, and before it may go on. */
const HIGH_WATER = 64;
const LOW_WATER = 16;

/**
 * The messages of a channel until it disconnects. What a loop that is left early has not had yet waits for the next
 * listener.
 *
 * @param {import('node:events').EventEmitter} channel
 * @param {object} flow
 * @param {(isWanted: boolean) => void} flow.wantMessages
 * @param {(unheard: [any, any][]) => void} flow.giveBack
 */
async function* messagesOf(channel, { wantMessages, giveBack }) {
  /** @type {[any, any][]} */
  const arrived = [];
  let isBehind = false;
  let isOver = false;
  /** @type {Error | undefined} */
  let failure;
  let wake = () => {};

  const onMessage = (/** @type {any} */ message, /** @type {any} */ handle) => {
    arrived.push([message, handle]);
    if (!isBehind && arrived.length >= HIGH_WATER) {
      isBehind = true;
      wantMessages(false);
    }
    wake();
  };
  const catchUp = () => {
    if (isBehind) wantMessages(true);
    isBehind = false;
  };
  const onEnd = () => {
    isOver = true;
    wake();
  };
  const onError = (/** @type {Error} */ error) => {
    failure = error;
    wake();
  };
  const listeners = /** @type {const} */ ([
    ['message', onMessage],
    ['disconnect', onEnd],
    ['close', onEnd],
    ['error', onError],
  ]);
  for (const [name, listener] of listeners) channel.on(name, listener);

  try {
    for (;;) {
      const next = arrived.shift();
      if (arrived.length <= LOW_WATER) catchUp();
      if (next !== undefined) {
        yield next[0];
      } else if (failure !== undefined) {
        throw failure;
      } else if (isOver) {
        return;
      } else {
        await new Promise((resolve) => {
          wake = () => resolve(undefined);
        });
      }
    }
  } finally {
    for (const [name, listener] of listeners) channel.removeListener(name, listener);
    giveBack(arrived);
    catchUp();
  }
}

module.exports = { messagesOf };
