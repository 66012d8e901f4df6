'use strict';

// The process behind `Clients` (clients.js). With arguments it does one order, prints the answers and ends:
//
//   node client-process.js <where> <count>

const { ask } = require('./clients');

let stopped = false;

/**
 * @param {any} where
 * @param {number} count
 * @param {() => void} onConnected called when all are
 */
function all(where, count, onConnected) {
  let missing = count;
  const onConnect = () => {
    if (--missing === 0) onConnected();
  };
  return Promise.all(Array.from({ length: count }, () => ask(where, { onConnect })));
}

/**
 * @param {any} where
 * @param {number} lines
 */
async function untilStopped(where, lines) {
  /** @type {import('./clients').Answer[]} */
  const answers = [];
  const line = async () => {
    while (!stopped) answers.push(await ask(where));
  };
  await Promise.all(Array.from({ length: lines }, line));
  return answers;
}

/** @param {any} message */
async function onMessage({ id, where, count, lines, stop }) {
  if (stop) {
    stopped = true;
    return;
  }
  /** @param {object} message */
  const tell = (message) => process.connected && process.send?.({ id, ...message });
  if (lines) {
    stopped = false;
    tell({ answers: await untilStopped(where, lines) });
  } else {
    tell({ answers: await all(where, count, () => tell({ connected: true })) });
  }
}

async function main() {
  const [where, count] = process.argv.slice(2);
  if (where === undefined) {
    process.on('message', onMessage);
    // Clients that still wait for a server are nobody's any more.
    process.on('disconnect', () => process.exit());
  } else {
    const answers = await all(Number(where) || where, Number(count), () => {});
    process.stdout.write(JSON.stringify(answers));
  }
}

main();
