'use strict';

// Whether the primary's file descriptors and memory stay flat over many connections and many dead workers.
// See README.md.

const { LoadGenerator } = require('./lib/load');
const { readOptions } = require('./lib/options');
const { progress } = require('./lib/pairs');
const { withProgram } = require('./lib/program');
const { formatNumber, printVerdicts } = require('./lib/report');
const proc = require('./lib/proc');
const { settledFdCount } = require('./lib/watch');

/** @typedef {import('./lib/side').Side} Side */
/** @typedef {import('./lib/program').Program} Program */
/**
 * @typedef {object} Snapshot the workers' numbers are of the largest
 * @property {string} label
 * @property {number} fds
 * @property {number} rss
 * @property {number} workerFds
 * @property {number} workerRss
 * @property {number} open connections that a worker's server still counts
 */

/**
 * @typedef {object} Course what became of one side
 * @property {Side} side
 * @property {Snapshot[]} snapshots
 * @property {number} failed clients that got an error or a close without an answer
 * @property {number} unanswered clients that got nothing at all
 */

const CLIENTS = 64;
/** Caches, code and heap have their size after so many, and each phase begins with some of them too. */
const WARM_UP_CONNECTIONS = 10_000;
const WARM_UP_RESTARTS = 10;
const STEPS = 4;
const RESTART_RATE = 500;
const LIMIT_SECONDS = 1800;
/** What may be left of a heap's natural ups and downs. */
const RSS_TOLERANCE_MIB = 12;

const options = readOptions({ connections: 100_000, restarts: 200, workers: 2, side: 'both', plain: false });

/**
 * @param {Program} program
 * @param {string} label
 * @returns {Promise<Snapshot>}
 */
async function snapshot(program, label) {
  await settledFdCount(program.pid, { quietSeconds: 0.5, limitSeconds: 5 });
  const pids = await program.workerPids();
  return {
    label,
    ...(await program.footprint()),
    workerFds: Math.max(...pids.map(proc.fdCount)),
    workerRss: Math.max(...pids.map(proc.residentMiB)),
    open: Math.max(...(await program.open())),
  };
}

/**
 * Ends workers one after the other while clients come, every second one with SIGKILL, the others by
 * disconnect().
 * @param {Program} program
 * @param {LoadGenerator} load
 * @param {number} restarts
 */
async function restartUnderLoad(program, load, restarts) {
  const running = load.run({
    protocol: 'http',
    port: program.port,
    rate: RESTART_RATE,
    seconds: LIMIT_SECONDS,
    patience: 5,
  });
  for (let i = 0; i < restarts; i++) await program.replaceWorker(i % 2 === 0 ? 'kill' : 'disconnect');
  await load.finish();
  return running;
}

/**
 * @param {Side} side
 * @returns {Promise<Course>}
 */
function run(side) {
  const { connections, restarts, workers, plain } = options;
  const load = new LoadGenerator();
  return withProgram(side, { workers, lane: !plain }, async (program) => {
    const say = (/** @type {string} */ what) => options.json || progress(`${side}: ${what}`);
    const connect = (/** @type {number} */ count) =>
      load.run({ protocol: 'http', port: program.port, clients: CLIENTS, count, seconds: LIMIT_SECONDS });
    /** @type {Snapshot[]} */
    const snapshots = [];
    const results = [];
    say('warm-up');
    await connect(Math.min(connections, WARM_UP_CONNECTIONS));
    await restartUnderLoad(program, load, Math.min(restarts, WARM_UP_RESTARTS));
    snapshots.push(await snapshot(program, 'before'));
    for (let step = 1; step <= STEPS; step++) {
      say(`connections, ${step} of ${STEPS}`);
      results.push(await connect(Math.round(connections / STEPS)));
      const done = Math.round((connections / STEPS) * step);
      snapshots.push(await snapshot(program, `${formatNumber(done, 0)} connections`));
    }
    for (let step = 1; step <= STEPS; step++) {
      say(`restarts, ${step} of ${STEPS}`);
      results.push(await restartUnderLoad(program, load, Math.round(restarts / STEPS)));
      snapshots.push(await snapshot(program, `${Math.round((restarts / STEPS) * step)} restarts`));
    }
    say('done');
    return {
      side,
      snapshots,
      failed: results.reduce((total, { failed }) => total + failed, 0),
      unanswered: results.reduce((total, { unanswered }) => total + unanswered, 0),
    };
  }).finally(() => load.stop());
}

/** @param {Course} course */
function verdictsOf({ side, snapshots, unanswered }) {
  const first = snapshots[0];
  const last = snapshots[snapshots.length - 1];
  // The same workers as at the start; afterwards there are others.
  const connected = snapshots[STEPS];
  const growth = last.rss - first.rss;
  return [
    {
      text: `${side}: as many fds at the end`,
      met: last.fds === first.fds,
      got: `${first.fds} -> ${last.fds}`,
    },
    {
      text: `${side}: RSS at most ${RSS_TOLERANCE_MIB} MiB above the start`,
      met: growth <= RSS_TOLERANCE_MIB,
      got: `${formatNumber(growth, 1)} MiB`,
    },
    {
      text: `${side}: as many fds in the workers after the connections, and none counted as open`,
      met: connected.workerFds === first.workerFds && connected.open === 0,
      got: `${first.workerFds} -> ${connected.workerFds}, ${connected.open} open`,
    },
    {
      text: `${side}: RSS of the workers at most ${RSS_TOLERANCE_MIB} MiB above that after a quarter of the connections`,
      met: connected.workerRss - snapshots[1].workerRss <= RSS_TOLERANCE_MIB,
      got: `${formatNumber(connected.workerRss - snapshots[1].workerRss, 1)} MiB`,
    },
    {
      text: `${side}: no client left without an answer or a close`,
      met: unanswered === 0,
      got: `${unanswered}`,
    },
  ];
}

/** @param {Course[]} courses */
function printCourses(courses) {
  const { connections, restarts, workers } = options;
  console.log(
    `leaks: ${formatNumber(connections, 0)} connections, then ${restarts} worker restarts (half of them SIGKILL) ` +
      `under ${RESTART_RATE} connections/s, ${workers} workers; fds and RSS in MiB of the primary and of a worker\n`,
  );
  for (const { side, snapshots, failed, unanswered } of courses) {
    const row = (/** @type {string[]} */ [label, ...cells]) =>
      console.log(`  ${label.padEnd(24)}${cells.map((cell) => cell.padStart(10)).join('')}`);
    row([side, 'fds', 'RSS', 'worker', 'RSS', 'open']);
    for (const { label, fds, rss, workerFds, workerRss, open } of snapshots) {
      const counts = [fds, rss, workerFds, workerRss, open];
      row([label, ...counts.map((count, i) => formatNumber(count, i % 2))]);
    }
    console.log(`  clients: ${failed} failed, ${unanswered} unanswered\n`);
  }
}

async function main() {
  /** @type {Course[]} */
  const courses = [];
  for (const side of /** @type {Side[]} */ (['builtin', 'corral'])) {
    if (options.side === 'both' || options.side === side) courses.push(await run(side));
  }
  if (!options.json) progress('');
  // The built-in is there to compare with, not to be judged.
  const verdicts = courses.filter(({ side }) => side === 'corral').flatMap(verdictsOf);
  if (options.json) console.log(JSON.stringify({ title: 'leaks', courses, verdicts }));
  else {
    printCourses(courses);
    printVerdicts(verdicts);
  }
  if (options.check && verdicts.some(({ met }) => !met)) process.exitCode = 1;
}

main();
