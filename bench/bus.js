'use strict';

// Queues and topics: corral/bus beside rsmq, BullMQ and ioredis on one Redis, all sides in turn in one run. See
// README.md.

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { readOptions } = require('./lib/options');
const { progress } = require('./lib/pairs');
const { cpuTime } = require('./lib/proc');
const { Remote } = require('./lib/remote');
const { formatNumber } = require('./lib/report');
const { median } = require('./lib/stats');
const { freePort } = require('../scripts/lib-free-port');

const PEER = path.join(__dirname, 'programs/bus-peer.js');
const SERVER = path.join(__dirname, 'programs/bus-server.js');
const SUBSCRIBERS = 4;
const RATE = 1_000;
const EMBEDDED = ['memory', 'process', 'disk'];
/** Those on a Redis, of which the first is ours. */
const ON_REDIS = ['redis', 'rsmq', 'bullmq', 'ioredis'];

/**
 * What each needs of others, in ratios of the medians: the targets. Jobs are compared with as many calls on their way on both
 * sides, and once more as everybody's documents have it; of BullMQ with the faster of its two ways of sending many.
 *
 * @type {[string, string, string, number, 'least' | 'most'][]}
 */
const TARGETS = [
  ['memory', 'rsmq', 'jobs', 25, 'least'],
  ['memory', 'rsmq', 'jobsDocumented', 25, 'least'],
  ['process', 'rsmq', 'jobs', 10, 'least'],
  ['process', 'rsmq', 'jobsDocumented', 10, 'least'],
  ['process', 'bullmq', 'jobs', 3, 'least'],
  ['process', 'bullmq', 'jobsDocumented', 3, 'least'],
  ['process', 'bullmq', 'jobP50', 0.5, 'most'],
  ['redis', 'rsmq', 'jobs', 4, 'least'],
  ['redis', 'rsmq', 'jobsDocumented', 4, 'least'],
  ['redis', 'bullmq', 'jobs', 1.5, 'least'],
  ['redis', 'bullmq', 'jobsDocumented', 1.5, 'least'],
  ['redis', 'bullmq', 'jobP50', 0.5, 'most'],
  ['memory', 'ioredis', 'topics', 4, 'least'],
  ['memory', 'ioredis', 'topicP50', 0.5, 'most'],
  ['redis', 'ioredis', 'topics', 0.95, 'least'],
];

/** What a file with many that wait may take more of memory, and of time for receiving one. */
const MOST_MIB = 64;
const MOST_RATIO = 1.2;

const options = readOptions({ sides: EMBEDDED.join(','), seconds: 2, waiting: 0 });

/** @typedef {Record<string, number>} Sample */

/**
 * @param {string} directory
 * @returns {Promise<{ url: string, pid: number, stop: () => Promise<void> }>} a Redis of its own
 */
async function startRedis(directory) {
  const port = await freePort();
  const child = spawn(
    'redis-server',
    ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', directory, '--save', ''],
    {
      stdio: 'ignore',
    },
  );
  const failed = once(child, 'error').then(([error]) => {
    throw new Error(`redis-server: ${error.message} (apt-get install redis-server)`);
  });
  await Promise.race([failed, reachable(port)]);
  return {
    url: `redis://127.0.0.1:${port}`,
    pid: /** @type {number} */ (child.pid),
    async stop() {
      child.kill();
      await once(child, 'exit');
    },
  };
}

/** @param {number} port */
async function reachable(port) {
  for (;;) {
    const socket = net.connect(port, '127.0.0.1');
    const isThere = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (isThere) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** @param {() => Promise<boolean>} isSo */
async function until(isSo) {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 5));
}

/**
 * @param {string} side
 * @returns {Promise<Sample>}
 */
async function measure(side) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-bench-'));
  const place = path.join(directory, 'bus');
  const redis = ON_REDIS.includes(side) ? await startRedis(directory) : undefined;
  const server = redis === undefined ? new Remote(SERVER, { args: [side, place] }) : undefined;
  await server?.ask('start');
  /** @type {Remote[]} */
  const peers = [];
  const peer = async (/** @type {string} */ mode) => {
    const one = new Remote(PEER, { args: [side, redis?.url ?? place, mode] });
    peers.push(one);
    await one.ask('start');
    return one;
  };
  const engine = server ?? /** @type {any} */ (redis);
  try {
    /** @type {Sample} */
    const sample = {};
    if (side !== 'ioredis') {
      Object.assign(sample, await queues(await peer('flight'), await peer('flight'), engine));
      sample.jobsDocumented = (await jobs(await peer('documented'), await peer('documented'), engine)).rate;
    }
    if (side === 'bullmq') {
      sample.jobsBulk = (await jobs(await peer('bulk'), await peer('bulk'), engine)).rate;
    }
    if (side !== 'rsmq' && side !== 'bullmq') Object.assign(sample, await topics(() => peer('flight')));
    return sample;
  } finally {
    await Promise.all(peers.map((one) => one.stop()));
    await server?.stop();
    await redis?.stop();
    fs.rmSync(directory, { recursive: true });
  }
}

/**
 * @param {Remote} producer
 * @param {Remote} consumer
 * @param {Remote | { pid: number }} server
 */
async function queues(producer, consumer, server) {
  const { seconds } = options;
  /** @type {Sample} */
  const sample = {};
  const { rate, cpu } = await jobs(producer, consumer, server);
  sample.jobs = rate;
  sample.jobCpu = cpu;
  await consumer.ask('latency');
  await producer.ask('sendAt', { rate: RATE, seconds });
  const last = (await consumer.ask('latency')).p50;
  sample.jobP50 = last;
  return sample;
}

/** How many messages the queue has with which one of many is compared, and how many are received of each in one go. */
const FEW = 1_000;
const CYCLES = 1_000;

/**
 * Many that wait beside few, each in a file of its own: what the engine's process needs for them, and what receiving costs.
 *
 * @param {string} side
 * @param {number} many
 * @returns {Promise<Sample>}
 */
async function backlog(side, many) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-bench-'));
  /** @type {Remote[]} */
  const all = [];
  const start = async (/** @type {string} */ name) => {
    const place = path.join(directory, name);
    const server = new Remote(SERVER, { args: [side, place] });
    all.push(server);
    await server.ask('start');
    const peer = new Remote(PEER, { args: [side, place, 'flight'] });
    all.push(peer);
    await peer.ask('start');
    return { server, peer };
  };
  try {
    const [few, lots] = [await start('few'), await start('many')];
    await few.peer.ask('fill', FEW);
    await lots.peer.ask('fill', FEW);
    const before = await lots.server.ask('rss');
    await lots.peer.ask('fill', many - FEW);
    const waitingMiB = ((await lots.server.ask('rss')) - before) / (1 << 20);
    /** @type {number[]} */
    const ratios = [];
    for (let round = 0; round <= options.pairs; round += 1) {
      const ofFew = await few.peer.ask('cycles', CYCLES);
      const ofMany = await lots.peer.ask('cycles', CYCLES);
      // The first time neither is warm.
      if (round > 0) ratios.push(ofMany / ofFew);
    }
    return { waitingMiB, waitingRatio: median(ratios) };
  } finally {
    for (const one of all.reverse()) await one.stop();
    fs.rmSync(directory, { recursive: true });
  }
}

/**
 * @param {Remote} producer
 * @param {Remote} consumer
 * @param {Remote | { pid: number }} server
 */
async function jobs(producer, consumer, server) {
  await consumer.ask('work');
  const warm = await producer.ask('send', 0.3);
  await until(async () => (await consumer.ask('received')) >= warm);
  const start = performance.now();
  const cpu = () => [producer, consumer, server].reduce((sum, { pid }) => sum + cpuTime(pid), 0);
  const used = cpu();
  const sent = await producer.ask('send', options.seconds);
  await until(async () => (await consumer.ask('received')) >= warm + sent);
  return { rate: (1000 * sent) / (performance.now() - start), cpu: (cpu() - used) / sent };
}

/** @param {() => Promise<Remote>} peer */
async function topics(peer) {
  const { seconds } = options;
  const publisher = await peer();
  const subscribers = await Promise.all(Array.from({ length: SUBSCRIBERS }, peer));
  for (const subscriber of subscribers) await subscriber.ask('subscribe');
  await publisher.ask('publish', 0.3);
  const counts = async () => {
    const all = await Promise.all(subscribers.map((one) => one.ask('received')));
    return all.reduce((sum, count) => sum + count, 0);
  };
  const begin = await counts();
  const start = performance.now();
  const sent = await publisher.ask('publish', seconds);
  await until(async () => (await counts()) >= begin + SUBSCRIBERS * sent);
  const rate = (1000 * SUBSCRIBERS * sent) / (performance.now() - start);
  await publisher.ask('publishAt', { rate: RATE, seconds });
  const { p50 } = await subscribers[0].ask('latency');
  return { topics: rate, topicP50: p50 };
}

async function main() {
  const sides = options.sides.split(',');
  const unknown = sides.filter((side) => ![...EMBEDDED, ...ON_REDIS].includes(side));
  if (unknown.length > 0) throw new Error(`unknown sides: ${unknown.join(', ')}`);
  /** @type {Record<string, Sample[]>} */
  const samples = Object.fromEntries(sides.map((side) => [side, []]));
  for (let round = 0; round < options.pairs; round += 1) {
    // Another one is first each time.
    const first = round % sides.length;
    for (const side of [...sides.slice(first), ...sides.slice(0, first)]) {
      progress(`round ${round + 1} of ${options.pairs}, ${side}`);
      samples[side].push(await measure(side));
    }
  }
  for (const side of options.waiting > 0 ? sides.filter((one) => EMBEDDED.includes(one)) : []) {
    progress(`${options.waiting} that wait, ${side}`);
    samples[side].push(await backlog(side, options.waiting));
  }
  progress('');
  report(samples);
}

/** @param {Record<string, Sample[]>} samples */
function report(samples) {
  const sides = Object.keys(samples);
  const of = (/** @type {string} */ side, /** @type {string} */ name) =>
    median((samples[side] ?? []).flatMap((sample) => sample[name] ?? []));
  const verdicts = TARGETS.map(([one, other, name, wanted, how]) => {
    const most = name === 'jobs' ? Math.max(of(other, name), of(other, 'jobsBulk') || 0) : of(other, name);
    const ratio = of(one, name) / most;
    return {
      text: `${name}: ${one} at ${how} ${wanted} x ${other}`,
      ratio,
      met: how === 'least' ? ratio >= wanted : ratio <= wanted,
    };
  }).filter(({ ratio }) => !Number.isNaN(ratio));
  for (const [name, most] of /** @type {[string, number][]} */ ([
    ['waitingMiB', MOST_MIB],
    ['waitingRatio', MOST_RATIO],
  ])) {
    for (const side of sides.filter((one) => one !== 'memory')) {
      const ratio = of(side, name);
      if (Number.isNaN(ratio)) continue;
      verdicts.push({ text: `${name}: ${side} at most ${most}`, ratio, met: ratio <= most });
    }
  }
  if (options.json) {
    console.log(JSON.stringify({ samples, verdicts }));
  } else {
    const machine = `Node ${process.versions.node}, ${os.availableParallelism()} cores, ${os.cpus()[0]?.model ?? os.arch()}`;
    console.log(
      `bus: messages of 1 KiB, one producer and one consumer; one publisher and ${SUBSCRIBERS} subscribers`,
    );
    console.log(`${machine}; medians of ${options.pairs}\n`);
    /** @type {[string, string, number][]} */
    const rows = [
      ['jobs', 'sent, received, acknowledged/s: 100 on their way', 0],
      ['jobsBulk', '  the same, 100 sent by one call', 0],
      ['jobsDocumented', '  one after the other, as all documents have it', 0],
      ['jobCpu', 'CPU of all three processes for each, us', 1],
      ['jobP50', `send to function at ${RATE}/s: median, us`, 0],
      ['topics', 'delivered to subscribers/s', 0],
      ['topicP50', `publish to listener at ${RATE}/s: median, us`, 0],
      ['waitingMiB', `${options.waiting} waiting: memory of the engine, MiB more`, 1],
      ['waitingRatio', `  receive, ack, send: times that with ${FEW} waiting`, 2],
    ];
    console.log(['', ...sides].map((head, i) => (i === 0 ? head.padEnd(51) : head.padStart(10))).join(''));
    for (const [name, label, digits] of rows) {
      const cells = sides.map((side) => of(side, name));
      if (cells.every(Number.isNaN)) continue;
      const texts = cells.map((cell) => (Number.isNaN(cell) ? '-' : formatNumber(cell, digits)));
      console.log(label.padEnd(51) + texts.map((text) => text.padStart(10)).join(''));
    }
    for (const { text, ratio, met } of verdicts)
      console.log(`${met ? 'met' : 'MISSED'}: ${text}: ${ratio.toFixed(2)}`);
  }
  if (options.check && verdicts.some(({ met }) => !met)) process.exitCode = 1;
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
