'use strict';

// Peers that send without end, and who has a turn beside them.

const { next } = require('./events');

/** For how many turns of the event loop a flood is watched. */
const TURNS = 200;

/** For how long this thread leaves alone what comes. */
const BLOCKED_MS = 200;

/**
 * Sends small messages for as long as it is not told to stop, and rests when `send` says so.
 *
 * @param {any} peer
 * @returns {() => void} stops it
 */
function flood(peer) {
  const text = { x: 'y'.repeat(100) };
  let isStopped = false;
  const go = () => {
    for (let count = 0; count < 200 && !isStopped; count++) {
      if (!peer.send(text)) {
        setTimeout(go, 1);
        return;
      }
    }
    if (!isStopped) setImmediate(go);
  };
  go();
  return () => {
    isStopped = true;
  };
}

/**
 * Watches who has its turn in this process while messages come without end.
 *
 * @param {any[]} peers whose messages come
 * @param {number} [turnsToWatch]
 * @returns {Promise<number>} how many came between two turns of the event loop at most
 */
async function watchTurns(peers, turnsToWatch = TURNS) {
  let count = 0;
  let most = 0;
  let turns = 0;
  const onMessage = () => {
    count++;
  };
  for (const peer of peers) peer.on('message', onMessage);
  await Promise.all(peers.map((peer) => next(peer, 'message')));
  // More has come by then than one turn takes.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BLOCKED_MS);
  const signal = next(process, 'SIGUSR2');
  const timer = new Promise((resolve) => setTimeout(resolve, 10));
  process.kill(process.pid, 'SIGUSR2');
  const loop = new Promise((/** @type {(_: void) => void} */ resolve) => {
    const turn = () => {
      most = Math.max(most, count);
      count = 0;
      if (++turns === turnsToWatch) resolve();
      else setImmediate(turn);
    };
    setImmediate(() => {
      count = 0;
      setImmediate(turn);
    });
  });
  await Promise.all([signal, timer, loop]);
  for (const peer of peers) peer.removeListener('message', onMessage);
  return most;
}

/** So many messages come between two turns of the event loop at most: what one turn takes, and what is read directly beside it. */
const MOST_IN_A_TURN = 2048;

module.exports = { MOST_IN_A_TURN, flood, watchTurns };
