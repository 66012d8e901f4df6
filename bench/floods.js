'use strict';

// Who has a turn in a process to which others send small messages without end. See README.md.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { readOptions } = require('./lib/options');
const { runPairs } = require('./lib/pairs');
const { Remote } = require('./lib/remote');
const { formatNumber, printReport } = require('./lib/report');
const { SIDE_VARIABLE } = require('./lib/side');

/** @typedef {import('./lib/side').Side} Side */

const CLUSTER = path.join(__dirname, 'programs/flood-cluster.js');
const NET = path.join(__dirname, 'programs/flood-net.js');

/** What is wanted, in milliseconds. */
const MOST_LATE = 20;
const MOST_FOR_A_SIGNAL = 100;

/** Who is flooded, and by whom. */
const CASES = {
  primary: 'a primary, by its workers',
  worker: 'a worker, by its primary',
  peers:
    'a worker, by other workers (the built-in has no such messages: its worker is flooded by its primary)',
  server: 'a server of corral/net, by its peers (the other side: JSON lines over plain net)',
};

const options = readOptions({ pairs: 3, seconds: 3, senders: 4, of: 'all' });
const names = /** @type {(keyof typeof CASES)[]} */ (
  Object.keys(CASES).filter((name) => options.of === 'all' || options.of.split(',').includes(name))
);
if (names.length === 0) {
  console.error(`--of wants some of ${Object.keys(CASES).join(', ')}, or all`);
  process.exit(2);
}

/**
 * @param {Side} side
 * @param {string} question
 */
async function inCluster(side, question) {
  const { senders, seconds } = options;
  const primary = new Remote(CLUSTER, { env: { [SIDE_VARIABLE]: side } });
  try {
    return await primary.ask(question === 'peers' && side === 'builtin' ? 'worker' : question, {
      senders,
      seconds,
    });
  } finally {
    await primary.stop();
  }
}

/** @param {Side} side */
async function overPath(side) {
  const args = [side === 'corral' ? 'corral' : 'raw'];
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-bench-'));
  const [server, ...clients] = Array.from(
    { length: options.senders + 1 },
    () => new Remote(NET, { args, env: { [SIDE_VARIABLE]: side } }),
  );
  try {
    const address = path.join(directory, 'socket');
    await server.ask('listen', address);
    // Who is answered is flooded already.
    for (const client of clients) client.ask('connect', address).catch(() => {});
    return await server.ask('watch', options.seconds);
  } finally {
    await Promise.all(clients.map((client) => client.stop()));
    await server.stop();
    fs.rmSync(directory, { recursive: true });
  }
}

async function main() {
  for (const name of names) {
    const pairs = await runPairs(options, (side) =>
      name === 'server' ? overPath(side) : inCluster(side, name),
    );
    printReport(
      {
        title: `floods: ${CASES[name]}; ${options.senders} senders`,
        baseline: name === 'server' ? 'raw' : 'built-in',
        pairs,
        rows: [
          { name: 'rate', label: 'messages/s' },
          { name: 'lateP99', label: 'a timer of 10 ms is late by: p99, ms', digits: 1 },
          { name: 'lateMax', label: 'a timer of 10 ms is late by: longest, ms', digits: 1 },
          { name: 'signalMax', label: 'a signal is handled after: longest, ms', digits: 1 },
          { name: 'cpu', label: "receiver's CPU, us/message", digits: 2 },
          { name: 'memory', label: 'memory at its largest, MiB' },
        ],
        targets: ({ lateP99, signalMax }) => [
          {
            text: `${name}: a timer is late by at most ${MOST_LATE} ms at p99`,
            met: lateP99.corral <= MOST_LATE,
            got: `${formatNumber(lateP99.corral, 1)} ms`,
          },
          {
            text: `${name}: a signal is handled within ${MOST_FOR_A_SIGNAL} ms`,
            met: signalMax.corral <= MOST_FOR_A_SIGNAL,
            got: `${formatNumber(signalMax.corral, 1)} ms`,
          },
        ],
      },
      options,
    );
  }
}

main();
