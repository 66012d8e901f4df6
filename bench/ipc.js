'use strict';

// Messages between a primary and its worker: rates, round trip, big ones. See README.md.

const path = require('node:path');
const { readOptions } = require('./lib/options');
const { runPairs } = require('./lib/pairs');
const { Remote } = require('./lib/remote');
const { printReport, ratioTarget } = require('./lib/report');
const { SIDE_VARIABLE } = require('./lib/side');
const { BIG_BYTES } = require('./programs/ipc-traffic');

/** @typedef {import('./lib/side').Side} Side */
/** @typedef {'json' | 'advanced'} Serialization */

const PROGRAM = path.join(__dirname, 'programs/ipc-primary.js');
const WARM_UP_SECONDS = 0.3;
const ON_PAR = 0.95;
const BIG_TO_PRIMARY = 1.5;
const BYTES_PER_MB = 1e6;

const options = readOptions({ seconds: 1, serialization: 'both' });
if (!['both', 'json', 'advanced'].includes(options.serialization)) {
  console.error('--serialization wants json, advanced or both');
  process.exit(2);
}

/**
 * @param {Side} side
 * @param {Serialization} serialization
 */
async function measure(side, serialization) {
  const { seconds } = options;
  const primary = new Remote(PROGRAM, { args: [serialization], env: { [SIDE_VARIABLE]: side } });
  try {
    await primary.ask('ready');
    for (const question of ['toWorker', 'toPrimary']) {
      await primary.ask(question, { size: 'small', seconds: WARM_UP_SECONDS });
    }
    const roundTrip = await primary.ask('roundTrip', seconds);
    const smallToWorker = await primary.ask('toWorker', { size: 'small', seconds });
    const smallToPrimary = await primary.ask('toPrimary', { size: 'small', seconds });
    const bigToWorker = await primary.ask('toWorker', { size: 'big', seconds });
    const bigToPrimary = await primary.ask('toPrimary', { size: 'big', seconds });
    return {
      roundTripP50: roundTrip.p50,
      roundTripP99: roundTrip.p99,
      roundTrips: 1e6 / roundTrip.p50,
      toWorker: smallToWorker.rate,
      toWorkerPrimaryCpu: smallToWorker.primaryCpu,
      toWorkerWorkerCpu: smallToWorker.workerCpu,
      toPrimary: smallToPrimary.rate,
      toPrimaryPrimaryCpu: smallToPrimary.primaryCpu,
      toPrimaryWorkerCpu: smallToPrimary.workerCpu,
      bigToWorker: (bigToWorker.rate * BIG_BYTES) / BYTES_PER_MB,
      bigToWorkerPrimaryCpu: bigToWorker.primaryCpu,
      bigToWorkerWorkerCpu: bigToWorker.workerCpu,
      bigToPrimary: (bigToPrimary.rate * BIG_BYTES) / BYTES_PER_MB,
      bigToPrimaryPrimaryCpu: bigToPrimary.primaryCpu,
      bigToPrimaryWorkerCpu: bigToPrimary.workerCpu,
    };
  } finally {
    await primary.stop();
  }
}

/** @param {Serialization} serialization */
async function bench(serialization) {
  const pairs = await runPairs(options, (side) => measure(side, serialization));
  printReport(
    {
      title: `ipc: one worker, serialization ${serialization}`,
      pairs,
      rows: [
        { name: 'roundTripP50', label: 'round trip: median, us', digits: 1 },
        { name: 'roundTripP99', label: 'round trip: p99, us', digits: 1 },
        { name: 'roundTrips', label: 'round trip: trips/s at the median' },
        { name: 'toWorker', label: 'small to worker: messages/s' },
        { name: 'toWorkerPrimaryCpu', label: 'small to worker: primary CPU, us/message', digits: 2 },
        { name: 'toWorkerWorkerCpu', label: 'small to worker: worker CPU, us/message', digits: 2 },
        { name: 'toPrimary', label: 'small to primary: messages/s' },
        { name: 'toPrimaryPrimaryCpu', label: 'small to primary: primary CPU, us/message', digits: 2 },
        { name: 'toPrimaryWorkerCpu', label: 'small to primary: worker CPU, us/message', digits: 2 },
        { name: 'bigToWorker', label: '1 MiB to worker: MB/s' },
        { name: 'bigToWorkerPrimaryCpu', label: '1 MiB to worker: primary CPU, us/message' },
        { name: 'bigToWorkerWorkerCpu', label: '1 MiB to worker: worker CPU, us/message' },
        { name: 'bigToPrimary', label: '1 MiB to primary: MB/s' },
        { name: 'bigToPrimaryPrimaryCpu', label: '1 MiB to primary: primary CPU, us/message' },
        { name: 'bigToPrimaryWorkerCpu', label: '1 MiB to primary: worker CPU, us/message' },
      ],
      targets: (compared) => [
        ratioTarget(`${serialization}: small messages/s to the worker`, compared.toWorker, ON_PAR),
        ratioTarget(`${serialization}: small messages/s to the primary`, compared.toPrimary, ON_PAR),
        ratioTarget(`${serialization}: round trips/s`, compared.roundTrips, ON_PAR),
        ratioTarget(`${serialization}: 1 MiB to the worker`, compared.bigToWorker, ON_PAR),
        ratioTarget(`${serialization}: 1 MiB to the primary`, compared.bigToPrimary, BIG_TO_PRIMARY),
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
