'use strict';

// A listening socket for each worker: connections per second and what they cost the primary, and what becomes of those that
// wait when workers are blocked and killed. See README.md.

const os = require('node:os');
const path = require('node:path');
const { readList } = require('./lib/lists');
const { LoadGenerator } = require('./lib/load');
const { readOptions } = require('./lib/options');
const { progress } = require('./lib/pairs');
const { cpuTime } = require('./lib/proc');
const { Remote } = require('./lib/remote');
const { withReusePortProgram } = require('./lib/reuseport-program');
const { hasWrk, runWrk } = require('./lib/wrk');

/** @typedef {import('./lib/reuseport-program').ReusePortSide} ReusePortSide */
/** @typedef {import('./lib/storm-load').StormResult} StormResult */
/** @typedef {{ rate: number, failed: number, primaryCpu: number, accepted: number }} Churn */
/** @typedef {StormResult & { kills: number, blocks: number, accepted: number | null }} Storm */

/** @type {Record<string, ReusePortSide>} */
const SIDES = {
  'one-queue': { label: "corral's default", cluster: 'corral', policy: 'rr' },
  none: { label: 'built-in, SCHED_NONE', cluster: 'builtin', policy: 'none' },
  node: { label: "Node's reusePort", cluster: 'builtin', policy: 'rr', reusePort: true },
  'reuse-port': { label: 'corral, reuse-port', cluster: 'corral', policy: 'reuse-port' },
};
const OURS = 'reuse-port';
/** Of those that go through workers being blocked and killed. */
const STORM_SIDES = ['node', 'one-queue', OURS];

const WARM_UP_SECONDS = 1;
const CLIENTS = 64;
const TARGETS = { 'one-queue': 1.1, none: 1 };
const TARGET_WAIT = 20;
/** Microseconds of the primary for each connection, at which there is nothing to be seen of them. */
const TARGET_CPU = 1;

const options = readOptions({
  pairs: 3,
  workers: 2,
  'storm-workers': 4,
  rate: 500,
  kills: 100,
  every: 150,
  block: 300,
  sides: 'all',
  parts: 'all',
  plain: false,
});
const [major, minor] = process.versions.node.split('.').map(Number);
const hasReusePort = major > 22 || (major === 22 && minor >= 12);
const sides = readList('sides', options.sides, Object.keys(SIDES)).filter(
  (side) => hasReusePort || !SIDES[side].reusePort,
);
const parts = readList('parts', options.parts, ['churn', 'blocks', 'kills']);

/** @param {number[]} values */
function median(values) {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

/** @param {string} side @param {LoadGenerator} load @returns {Promise<Churn>} */
function churn(side, load) {
  const { workers, seconds, plain } = options;
  return withReusePortProgram(SIDES[side], { workers, protocol: 'http', plain }, async (program) => {
    const job = { port: program.port, clients: CLIENTS };
    /** @param {number} seconds */
    const run = (seconds) =>
      hasWrk()
        ? runWrk({ ...job, seconds: Math.ceil(seconds) })
        : load.run({ ...job, protocol: 'http', seconds });
    await run(WARM_UP_SECONDS);
    const before = { cpu: cpuTime(program.pid), accepted: (await program.accepted()) ?? 0 };
    const { completed, failed, seconds: took } = await run(seconds);
    const accepted = ((await program.accepted()) ?? 0) - before.accepted;
    return {
      rate: completed / took,
      failed,
      primaryCpu: (cpuTime(program.pid) - before.cpu) / completed,
      accepted,
    };
  });
}

/** @param {string} side @param {'blocks' | 'kills'} part @returns {Promise<Storm>} */
async function storm(side, part) {
  const { rate, plain, block, every, seconds } = options;
  const workers = options['storm-workers'];
  const kills = part === 'kills' ? options.kills : 0;
  const load = new Remote(path.join(__dirname, 'lib/storm-load.js'));
  try {
    return await withReusePortProgram(SIDES[side], { workers, protocol: 'net', plain }, async (program) => {
      const running = load.ask('run', { port: program.port, rate });
      await program.beginStorm({ block, kills, every });
      do await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      while ((await program.kills()) < kills);
      const counts = await program.endStorm();
      await load.ask('stop');
      return { ...(await running), ...counts };
    });
  } finally {
    await load.stop();
  }
}

/** @param {string[]} cells */
const printRow = (cells) => console.log(`| ${cells.join(' | ')} |`);

/** @param {string[]} head @param {string[][]} rows */
function printTable(head, rows) {
  printRow(head);
  printRow(head.map(() => '---'));
  rows.forEach(printRow);
  console.log('');
}

/** @param {number[]} ascending @param {number} share */
const quantile = (ascending, share) => ascending[Math.floor((ascending.length - 1) * share)] ?? NaN;

/** @param {Map<string, Churn[]>} results */
function reportChurn(results) {
  const ours = results.get(OURS) ?? [];
  const ratios = (/** @type {Churn[]} */ others) =>
    ours.map(({ rate }, pair) => rate / (others[pair]?.rate ?? NaN));
  const of = (/** @type {Churn[]} */ runs, /** @type {keyof Churn} */ name) =>
    median(runs.map((run) => run[name]));
  console.log(`churn: HTTP, one request per connection, ${options.workers} workers, ${CLIENTS} clients`);
  printTable(
    [
      'side',
      'connections/s',
      'ours against it',
      'primary CPU, us/connection',
      'accepted by the primary',
      'failed',
    ],
    [...results].map(([side, runs]) => [
      SIDES[side].label,
      of(runs, 'rate').toFixed(0),
      median(ratios(runs)).toFixed(2),
      of(runs, 'primaryCpu').toFixed(2),
      of(runs, 'accepted').toFixed(0),
      of(runs, 'failed').toFixed(0),
    ]),
  );
  const verdicts = Object.entries(TARGETS).map(([side, wanted]) => ({
    text: `at least ${wanted} x the connections of ${SIDES[side].label}`,
    got: median(ratios(results.get(side) ?? [])),
    isMet: (/** @type {number} */ got) => got >= wanted,
  }));
  verdicts.push({
    text: `at most ${TARGET_CPU} us of the primary for each connection`,
    got: of(ours, 'primaryCpu'),
    isMet: (got) => got <= TARGET_CPU,
  });
  return verdicts;
}

/** @param {'blocks' | 'kills'} part @param {Map<string, Storm>} results */
function reportStorm(part, results) {
  const what = part === 'kills' ? `${options.kills} kill -9, one every ${options.every} ms, and ` : '';
  console.log(
    `${part}: ${options.rate} connections/s, ${options['storm-workers']} workers; ${what}half of them blocked for ${options.block} ms at random`,
  );
  printTable(
    [
      'side',
      'killed',
      'blocked',
      'answered',
      'reset',
      'refused',
      'died with a worker',
      'hanging',
      'wait p50',
      'p99',
      'longest, ms',
      `over ${TARGET_WAIT} ms`,
    ],
    [...results].map(([side, run]) => [
      SIDES[side].label,
      ...[run.kills, run.blocks, run.answered, run.reset, run.refused, run.ended, run.hanging].map(String),
      ...[0.5, 0.99, 1].map((share) => quantile(run.waits, share).toFixed(1)),
      `${run.waits.filter((wait) => wait > TARGET_WAIT).length}`,
    ]),
  );
  const ours = results.get(OURS);
  if (ours === undefined) return [];
  const isZero = (/** @type {number} */ got) => got === 0;
  return [
    {
      text: `${part}: none is reset, refused or left hanging`,
      got: ours.reset + ours.refused + ours.hanging,
      isMet: isZero,
    },
    {
      text: `${part}: none waits for longer than ${TARGET_WAIT} ms; the longest`,
      got: quantile(ours.waits, 1),
      isMet: (/** @type {number} */ got) => got <= TARGET_WAIT,
    },
  ];
}

async function main() {
  console.log(
    `Node ${process.versions.node}, ${os.availableParallelism()} cores, ${os.cpus()[0]?.model ?? os.arch()}\n`,
  );
  /** @type {{ text: string, got: number, isMet: (got: number) => boolean }[]} */
  const verdicts = [];
  if (parts.includes('churn')) {
    const load = new LoadGenerator();
    /** @type {Map<string, Churn[]>} */
    const results = new Map(sides.map((side) => [side, []]));
    for (let pair = 0; pair < options.pairs; pair++) {
      // Each goes first now and then.
      for (let turn = 0; turn < sides.length; turn++) {
        const side = sides[(pair + turn) % sides.length];
        progress(`churn ${pair + 1}/${options.pairs}: ${side}`);
        results.get(side)?.push(await churn(side, load));
      }
    }
    await load.stop();
    verdicts.push(...reportChurn(results));
  }
  for (const part of /** @type {('blocks' | 'kills')[]} */ (['blocks', 'kills'])) {
    if (!parts.includes(part)) continue;
    /** @type {Map<string, Storm>} */
    const results = new Map();
    for (const side of STORM_SIDES.filter((side) => sides.includes(side))) {
      progress(`${part}: ${side}`);
      results.set(side, await storm(side, part));
    }
    verdicts.push(...reportStorm(part, results));
  }
  for (const { text, got, isMet } of verdicts) {
    console.log(`${isMet(got) ? 'met' : 'MISSED'}: ${text} (${got.toFixed(2)})`);
  }
  if (options.check && !verdicts.every(({ got, isMet }) => isMet(got))) process.exitCode = 1;
}

main();
