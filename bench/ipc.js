'use strict';

// Messages between a primary and its worker: rates by size, round trip, CPU. See README.md.

const path = require('node:path');
const { readOptions } = require('./lib/options');
const { runPairs } = require('./lib/pairs');
const { Remote } = require('./lib/remote');
const { printReport, ratioTarget } = require('./lib/report');
const { SIDE_VARIABLE } = require('./lib/side');
const { SIZES, WORKER_VARIABLE } = require('./programs/ipc-traffic');

/** @typedef {import('./lib/side').Side} Side */
/** @typedef {'json' | 'advanced'} Serialization */
/** @typedef {import('./programs/ipc-traffic').Size} Size */
/** @typedef {import('./lib/report').Row} Row */

const PROGRAM = path.join(__dirname, 'programs/ipc-primary.js');
const WARM_UP_SECONDS = 0.3;
const BYTES_PER_MB = 1e6;
/** Rates of larger messages are told in MB/s. */
const LARGE = 4096;
const ON_PAR = 0.95;

/**
 * What is wanted, as a multiple of the built-in's rate.
 * @type {Record<string, Partial<Record<Size, { toWorker: number, toPrimary: number }>>>}
 */
const WANTED = {
  'plain json': {
    '16 B': { toWorker: ON_PAR, toPrimary: ON_PAR },
    '1 MiB': { toWorker: ON_PAR, toPrimary: 1.5 },
  },
  'plain advanced': {
    '16 B': { toWorker: ON_PAR, toPrimary: ON_PAR },
    '1 MiB': { toWorker: ON_PAR, toPrimary: 1.5 },
  },
  'corral json': {
    '16 B': { toWorker: 1.5, toPrimary: 1.5 },
    '1 KiB': { toWorker: 1.5, toPrimary: 1.5 },
    '64 KiB': { toWorker: 3, toPrimary: 3 },
    '1 MiB': { toWorker: 3, toPrimary: 3 },
  },
  'corral advanced': {
    '16 B': { toWorker: 1.5, toPrimary: 1.5 },
    '1 KiB': { toWorker: 1.5, toPrimary: 1.5 },
    '1 MiB': { toWorker: 5, toPrimary: 5 },
  },
};

const options = readOptions({ seconds: 1, serialization: 'both', worker: 'corral', sizes: 'all' });
if (!['both', 'json', 'advanced'].includes(options.serialization)) {
  console.error('--serialization wants json, advanced or both');
  process.exit(2);
}
if (!['plain', 'corral'].includes(options.worker)) {
  console.error('--worker wants plain, or corral for one that loads corral');
  process.exit(2);
}
const sizes = /** @type {Size[]} */ (
  Object.keys(SIZES).filter((size) => options.sizes === 'all' || options.sizes.split(',').includes(size))
);

/**
 * @param {Side} side
 * @param {Serialization} serialization
 */
async function measure(side, serialization) {
  const { seconds } = options;
  const env = { [SIDE_VARIABLE]: side, [WORKER_VARIABLE]: options.worker };
  const primary = new Remote(PROGRAM, { args: [serialization], env });
  try {
    await primary.ask('ready');
    for (const question of ['toWorker', 'toPrimary']) {
      await primary.ask(question, { size: '16 B', seconds: WARM_UP_SECONDS });
    }
    const roundTrip = await primary.ask('roundTrip', seconds);
    /** @type {Record<string, number>} */
    const sample = {
      roundTripP50: roundTrip.p50,
      roundTripP99: roundTrip.p99,
      roundTrips: 1e6 / roundTrip.p50,
    };
    for (const size of sizes) {
      for (const way of ['toWorker', 'toPrimary']) {
        const { rate, primaryCpu, workerCpu } = await primary.ask(way, { size, seconds });
        const bytes = SIZES[size].bytes;
        sample[`${way} ${size}`] = bytes > LARGE ? (rate * bytes) / BYTES_PER_MB : rate;
        sample[`${way} ${size} primaryCpu`] = primaryCpu;
        sample[`${way} ${size} workerCpu`] = workerCpu;
      }
    }
    return sample;
  } finally {
    await primary.stop();
  }
}

/** @returns {Row[]} */
function rowsOfSizes() {
  return sizes.flatMap((size) =>
    ['toWorker', 'toPrimary'].flatMap((way) => {
      const label = `${size} to ${way === 'toWorker' ? 'worker' : 'primary'}`;
      const unit = SIZES[size].bytes > LARGE ? 'MB/s' : 'messages/s';
      return [
        { name: `${way} ${size}`, label: `${label}: ${unit}` },
        { name: `${way} ${size} primaryCpu`, label: `${label}: primary CPU, us/message`, digits: 2 },
        { name: `${way} ${size} workerCpu`, label: `${label}: worker CPU, us/message`, digits: 2 },
      ];
    }),
  );
}

/** @param {Serialization} serialization */
async function bench(serialization) {
  const pairs = await runPairs(options, (side) => measure(side, serialization));
  const wanted = WANTED[`${options.worker} ${serialization}`];
  const kind = options.worker === 'plain' ? 'that is plain Node' : 'that loads corral';
  printReport(
    {
      title: `ipc: one worker ${kind}, serialization ${serialization}`,
      pairs,
      rows: [
        { name: 'roundTripP50', label: 'round trip: median, us', digits: 1 },
        { name: 'roundTripP99', label: 'round trip: p99, us', digits: 1 },
        { name: 'roundTrips', label: 'round trip: trips/s at the median' },
        ...rowsOfSizes(),
      ],
      targets: (compared) => [
        ratioTarget(
          `${serialization}: round trips/s`,
          compared.roundTrips,
          options.worker === 'plain' ? ON_PAR : 1,
        ),
        ...sizes.flatMap((size) => {
          const want = wanted[size];
          return want === undefined
            ? []
            : [
                ratioTarget(
                  `${serialization}: ${size} to the worker`,
                  compared[`toWorker ${size}`],
                  want.toWorker,
                ),
                ratioTarget(
                  `${serialization}: ${size} to the primary`,
                  compared[`toPrimary ${size}`],
                  want.toPrimary,
                ),
              ];
        }),
      ],
    },
    options,
  );
}

async function main() {
  for (const serialization of /** @type {Serialization[]} */ (['json', 'advanced'])) {
    if (options.serialization === 'both' || options.serialization === serialization)
      await bench(serialization);
  }
}

main();
