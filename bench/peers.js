'use strict';

// Two workers that talk to each other, and a primary that gathers from all. See README.md.

const path = require('node:path');
const { readOptions } = require('./lib/options');
const { runPairs } = require('./lib/pairs');
const { Remote } = require('./lib/remote');
const { formatNumber, printReport } = require('./lib/report');
const { SIDE_VARIABLE } = require('./lib/side');

const PROGRAM = path.join(__dirname, 'programs/peers-primary.js');
const MOST_ROUND_TRIP = 1.5;
const MOST_CPU = 0.5;

const options = readOptions({ seconds: 2 });

/** @param {import('./lib/side').Side} side */
async function measure(side) {
  const primary = new Remote(PROGRAM, { env: { [SIDE_VARIABLE]: side } });
  try {
    await primary.ask('ready');
    const direct = await primary.ask('primaryRoundTrip', options.seconds);
    // The built-in's messages go by the primary's JavaScript: blocked, none of them would get anywhere.
    const peers = await primary.ask('peerRoundTrip', {
      seconds: options.seconds,
      blocked: side === 'corral',
    });
    const gathered = await primary.ask('gather', options.seconds);
    return { direct, peers, ratio: peers / direct, gathered };
  } finally {
    await primary.stop();
  }
}

async function main() {
  const pairs = await runPairs(options, measure);
  printReport(
    {
      title:
        'peers: two of four workers, 100 bytes there and back; and 100 KiB from each, ten times a second',
      pairs,
      rows: [
        { name: 'direct', label: 'primary and worker: round trip, median, us', digits: 1 },
        { name: 'peers', label: 'worker and worker: round trip, median, us', digits: 1 },
        { name: 'ratio', label: 'the latter by the former', digits: 2 },
        { name: 'gathered', label: 'gathering: primary CPU, us/round' },
      ],
      notes: ['With corral the primary is blocked while the workers talk; with the built-in it relays.', ''],
      targets: ({ ratio, gathered }) => [
        {
          text: `workers past a blocked primary: at most ${MOST_ROUND_TRIP} x primary and worker`,
          met: ratio.corral <= MOST_ROUND_TRIP,
          got: `${formatNumber(ratio.corral, 2)} x`,
        },
        {
          text: `gathering costs the primary at most ${MOST_CPU} of the built-in's`,
          met: gathered.ratio <= MOST_CPU,
          got: formatNumber(gathered.ratio, 2),
        },
      ],
    },
    options,
  );
}

main();
