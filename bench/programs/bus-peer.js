'use strict';

// One process that takes part in a bench of queues and topics, by the library that its argument names: bus-peer.js
// <side> <place> <mode>. The place is a file, the path of an engine in memory, or the URL of a Redis. The mode is 'flight', with
// many calls on their way at a time; 'documented', one call after the other as its documents write it; or 'bulk', with the call
// that sends many at once, of who has one.

const { once } = require('node:events');
const { serve } = require('../lib/remote');
const { latencySummary } = require('../lib/stats');

const [side, place, mode] = process.argv.slice(2);

/** Of others' packages, from where BUS_DIRECTORY says that they are installed. @param {string} name */
const foreign = (name) => require(require.resolve(name, { paths: [process.env.BUS_DIRECTORY ?? '.'] }));

/** How many messages are on their way at a time; one is what everybody's documents have. */
const CONCURRENCY = mode === 'documented' ? 1 : 100;

/** Each mode has a queue of its own. */
const QUEUE = `bench-${mode}`;

/** 1 KiB, as it is written. */
const BODY = 'x'.repeat(1_000);

/**
 * What is measured of each.
 * @typedef {object} Peer
 * @property {(message: any) => Promise<unknown>} send to a queue, until it is kept
 * @property {(messages: any[]) => Promise<unknown>} [sendAll] by one call
 * @property {(onJob: (message: any) => void) => Promise<unknown>} work on that queue, and acknowledge
 * @property {() => Promise<unknown>} [cycle] receives a message, acknowledges it, and sends another one
 * @property {(message: any) => Promise<unknown>} [publish] to a topic
 * @property {(onMessage: (message: any) => void) => Promise<unknown>} [subscribe] to it
 */

/** @returns {Promise<Peer>} */
async function corral() {
  const { connect } = require('../../bus');
  const bus = await (side === 'memory'
    ? openMemory()
    : side === 'redis'
      ? connect(place)
      : connect(`file:${place}`, { durability: durability() }));
  const queue = bus.queue(QUEUE);
  return {
    send: (message) => queue.send(message),
    work: async (onJob) => {
      queue.process((/** @type {any} */ { message }) => onJob(message), { concurrency: CONCURRENCY });
    },
    cycle: async () => {
      const [job] = await queue.receive();
      await job.ack();
      await queue.send({ body: BODY });
    },
    publish: (message) => bus.publish('bench', message),
    subscribe: (onMessage) => bus.subscribe('bench', onMessage, { buffer: 100_000 }),
  };
}

const durability = () => (side === 'disk' ? 'disk' : 'process');

/** As a worker has it whose primary has the engine in memory. */
async function openMemory() {
  const { open } = require('../../lib/bus/bus');
  const { busOptions } = require('../../lib/bus/options');
  const { addon } = require('../../lib/bus/serving');
  const nothing = () => {};
  const engine = {
    open: async () => addon().connectFile(place),
    release: nothing,
    renounce: nothing,
  };
  return /** @type {any} */ (await open(engine, busOptions({})));
}

/** @returns {Promise<Peer>} */
async function rsmq() {
  const RedisSMQ = foreign('rsmq');
  const { hostname: host, port } = new URL(place);
  const queue = new RedisSMQ({ host, port: Number(port), ns: 'bench', realtime: false });
  await queue.createQueueAsync({ qname: QUEUE, maxsize: -1 }).catch(() => {});
  const loop = async (/** @type {(message: any) => void} */ onJob) => {
    for (;;) {
      const { id, message } = await queue.receiveMessageAsync({ qname: QUEUE });
      if (id === undefined) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        continue;
      }
      onJob(JSON.parse(message));
      await queue.deleteMessageAsync({ qname: QUEUE, id });
    }
  };
  return {
    send: (message) => queue.sendMessageAsync({ qname: QUEUE, message: JSON.stringify(message) }),
    work: async (onJob) => {
      for (let i = 0; i < CONCURRENCY; i += 1) loop(onJob);
    },
  };
}

/** @returns {Promise<Peer>} */
async function bullmq() {
  const { Queue, Worker } = foreign('bullmq');
  const { hostname: host, port } = new URL(place);
  const connection = { host, port: Number(port) };
  const queue = new Queue(QUEUE, { connection });
  return {
    send: (message) => queue.add('job', message, { removeOnComplete: true }),
    sendAll: (messages) =>
      queue.addBulk(messages.map((data) => ({ name: 'job', data, opts: { removeOnComplete: true } }))),
    work: async (onJob) => {
      const worker = new Worker(QUEUE, async (/** @type {any} */ job) => onJob(job.data), {
        connection,
        concurrency: CONCURRENCY,
      });
      await worker.waitUntilReady();
    },
  };
}

/** @returns {Promise<Peer>} */
async function ioredis() {
  const Redis = foreign('ioredis');
  const [own, other] = [new Redis(place), new Redis(place)];
  // One that subscribes before is in its own way.
  await Promise.all([once(own, 'ready'), once(other, 'ready')]);
  return {
    send: () => Promise.reject(new Error('it has no queues')),
    work: () => Promise.reject(new Error('it has no queues')),
    publish: (message) => own.publish('bench', JSON.stringify(message)),
    subscribe: async (onMessage) => {
      other.on('message', (/** @type {string} */ _topic, /** @type {string} */ text) =>
        onMessage(JSON.parse(text)),
      );
      await other.subscribe('bench');
    },
  };
}

/** @type {Record<string, () => Promise<Peer>>} */
const SIDES = { memory: corral, process: corral, disk: corral, redis: corral, rsmq, bullmq, ioredis };

/** @type {Peer} */
let peer;
let received = 0;
/** @type {number[]} */
let latencies = [];

/** @param {{ at?: number }} message */
function onMessage({ at }) {
  received += 1;
  if (at !== undefined) latencies.push((performance.timeOrigin + performance.now() - at) * 1000);
}

const now = () => performance.timeOrigin + performance.now();

/**
 * @param {(message: any) => Promise<unknown>} send
 * @param {number} seconds
 * @returns {Promise<number>} how many were sent
 */
async function saturate(send, seconds) {
  let count = 0;
  const end = performance.now() + 1000 * seconds;
  const one = async () => {
    while (performance.now() < end) {
      await send({ body: BODY });
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, one));
  return count;
}

/** As many by each call as others have on their way. @param {number} seconds */
async function saturateInBulk(seconds) {
  let count = 0;
  const end = performance.now() + 1000 * seconds;
  while (performance.now() < end) {
    await peer.sendAll?.(Array.from({ length: CONCURRENCY }, () => ({ body: BODY })));
    count += CONCURRENCY;
  }
  return count;
}

/**
 * @param {(message: any) => Promise<unknown>} send
 * @param {{ rate: number, seconds: number }} load
 */
async function pace(send, { rate, seconds }) {
  const start = performance.now();
  /** @type {Promise<unknown>[]} */
  const sent = [];
  for (let i = 0; i < rate * seconds; i += 1) {
    const due = start + (1000 * i) / rate;
    while (performance.now() < due) await new Promise((resolve) => setImmediate(resolve));
    sent.push(send({ body: BODY, at: now() }));
  }
  await Promise.all(sent);
}

serve({
  async start() {
    peer = await SIDES[side]();
  },
  work: () => peer.work(onMessage),
  subscribe: async () => {
    await peer.subscribe?.(onMessage);
  },
  /** @param {number} seconds */
  send: (seconds) => (mode === 'bulk' ? saturateInBulk(seconds) : saturate(peer.send, seconds)),
  /** @param {number} count */
  async fill(count) {
    let left = count;
    const one = async () => {
      while (left-- > 0) await peer.send({ body: BODY });
    };
    await Promise.all(Array.from({ length: 10 * CONCURRENCY }, one));
  },
  /** @param {number} count @returns {Promise<number>} milliseconds for each */
  async cycles(count) {
    const start = performance.now();
    for (let i = 0; i < count; i += 1) await peer.cycle?.();
    return (performance.now() - start) / count;
  },
  /** @param {number} seconds */
  publish: (seconds) => saturate(/** @type {any} */ (peer.publish), seconds),
  /** @param {{ rate: number, seconds: number }} load */
  sendAt: (load) => pace(peer.send, load),
  /** @param {{ rate: number, seconds: number }} load */
  publishAt: (load) => pace(/** @type {any} */ (peer.publish), load),
  received: () => received,
  latency() {
    const summary = latencySummary(latencies);
    latencies = [];
    return summary;
  },
});
