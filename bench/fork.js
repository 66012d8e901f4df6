'use strict';

// From fork() to 'online'. See README.md.

const path = require('node:path');
const { readOptions } = require('./lib/options');
const { progress } = require('./lib/pairs');
const { Remote } = require('./lib/remote');
const { formatNumber, printReport } = require('./lib/report');
const { SIDE_VARIABLE } = require('./lib/side');
const { median } = require('./lib/stats');

/** @typedef {import('./lib/side').Side} Side */
/** @typedef {{ call: number, online: number }} ForkTime */

const PROGRAM = path.join(__dirname, 'programs/fork-primary.js');
const WARM_UP_FORKS = 3;
const TARGET_RATIO = 1.05;

const options = readOptions({ forks: 10 });

async function main() {
  /** @type {Side[]} */
  const sides = ['builtin', 'corral'];
  // Both primaries live all the time and take turns, fork by fork: a fork is short, so whatever else the
  // machine does would otherwise fall on one side only.
  const primaries = sides.map(
    (side) => new Remote(PROGRAM, { env: { [SIDE_VARIABLE]: options.control ? 'builtin' : side } }),
  );
  try {
    for (let i = 0; i < WARM_UP_FORKS; i++) for (const primary of primaries) await primary.ask('fork');
    const pairs = [];
    for (let pair = 0; pair < options.pairs; pair++) {
      if (!options.json) progress(`pair ${pair + 1} of ${options.pairs}`);
      /** @type {ForkTime[][]} */
      const times = [[], []];
      for (let i = 0; i < options.forks; i++) {
        for (const side of i % 2 === 0 ? [0, 1] : [1, 0]) times[side].push(await primaries[side].ask('fork'));
      }
      const [builtin, corral] = times.map((all) => ({
        call: median(all.map(({ call }) => call)),
        online: median(all.map(({ online }) => online)),
      }));
      pairs.push({ builtin, corral });
    }
    if (!options.json) progress('');
    report(pairs);
  } finally {
    await Promise.all(primaries.map((primary) => primary.stop()));
  }
}

/** @param {import('./lib/pairs').Pair[]} pairs */
function report(pairs) {
  printReport(
    {
      title: `fork: ${options.forks} forks a side in each pair, in turns`,
      pairs,
      rows: [
        { name: 'call', label: 'fork() itself, ms', digits: 2 },
        { name: 'online', label: "fork() to 'online', ms", digits: 2 },
      ],
      targets: ({ online }) => [
        {
          text: `fork() to 'online' at most ${TARGET_RATIO} x the built-in`,
          met: online.ratio <= TARGET_RATIO,
          got: `${formatNumber(online.ratio, 3)} x`,
        },
      ],
    },
    options,
  );
}

main();
