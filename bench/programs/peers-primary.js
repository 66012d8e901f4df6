'use strict';

// Primary and workers of the peers bench; the same file for all of them, and on both sides.

const { setTimeout: sleep } = require('node:timers/promises');
const { loadCluster } = require('../lib/side');
const { serve } = require('../lib/remote');
const { latencySummary } = require('../lib/stats');

const cluster = /** @type {any} */ (loadCluster());
const WORKERS = 4;
const FILLER = 'x'.repeat(100);
const METRICS = 100 * 1024;
const ROUNDS_PER_SECOND = 10;
const WARM_UP = 200;

/**
 * Round trips one after the other.
 *
 * @param {(number: number) => void} send
 * @param {number} seconds
 * @returns {{ onPong: () => void, median: Promise<number> }}
 */
function roundTrips(send, seconds) {
  /** @type {number[]} */
  const times = [];
  let sentAt = performance.now();
  const end = sentAt + seconds * 1000;
  /** @type {(median: number) => void} */
  let finish = () => {};
  const median = new Promise((/** @type {(value: number) => void} */ resolve) => {
    finish = resolve;
  });
  const ping = () => {
    sentAt = performance.now();
    send(times.length);
  };
  const onPong = () => {
    const now = performance.now();
    times.push((now - sentAt) * 1000);
    if (now < end) ping();
    else finish(latencySummary(times.slice(WARM_UP)).p50);
  };
  setImmediate(ping);
  return { onPong, median };
}

function primary() {
  const workers = Array.from({ length: WORKERS }, () => cluster.fork());
  const [one, other] = workers;
  /** @type {(message: any, from: any) => void} */
  let onMessage = () => {};
  let ready = 0;
  /** @type {() => void} */
  let onReady = () => {};
  cluster.on('message', (/** @type {any} */ from, /** @type {any} */ message) => {
    if (message.ready) {
      if (++ready === WORKERS) onReady();
    } else if (message.relay) workers[message.relay - 1].send({ ...message, relay: 0 });
    else onMessage(message, from);
  });
  serve(
    {
      ready: () =>
        new Promise((/** @type {(_: void) => void} */ resolve) => {
          onReady = resolve;
          if (ready === WORKERS) resolve();
        }),
      /** @param {number} seconds */
      primaryRoundTrip(seconds) {
        const { onPong, median } = roundTrips(() => one.send({ ping: FILLER }), seconds);
        onMessage = onPong;
        return median;
      },
      /** @param {{ seconds: number, blocked: boolean }} test */
      peerRoundTrip({ seconds, blocked }) {
        return new Promise((resolve) => {
          onMessage = ({ median }) => resolve(median);
          one.send({ talkTo: other.id, seconds });
          if (!blocked) return;
          setTimeout(() => {
            const end = performance.now() + seconds * 1000;
            while (performance.now() < end);
          }, 50);
        });
      },
      /** @param {number} seconds */
      async gather(seconds) {
        const rounds = Math.round(seconds * ROUNDS_PER_SECOND);
        let cpu = 0;
        for (let round = 0; round < rounds; round++) {
          const before = process.cpuUsage();
          let left = WORKERS;
          await new Promise((/** @type {(_: void) => void} */ resolve) => {
            onMessage = ({ metrics }) => {
              if (metrics.length === METRICS && --left === 0) resolve();
            };
            for (const worker of workers) worker.send({ gather: true });
          });
          const { user, system } = process.cpuUsage(before);
          cpu += user + system;
          await sleep(1000 / ROUNDS_PER_SECOND);
        }
        return cpu / rounds;
      },
    },
    () => {
      for (const worker of workers) worker.process.kill('SIGKILL');
    },
  );
}

function worker() {
  const me = cluster.worker.id;
  // Text in the exposition format: a few thousand lines.
  const metrics = 'http_requests_total{method="get",code="200"} 1027\n'.repeat(METRICS).slice(0, METRICS);
  let onPong = () => {};
  cluster.on('message', (/** @type {any} */ peer, /** @type {any} */ message) => {
    if (message.pong) onPong();
    else peer.send({ pong: FILLER });
  });
  process.on('message', async (/** @type {any} */ message) => {
    if (message.ping && message.from) process.send?.({ relay: message.from, pong: FILLER });
    else if (message.ping) process.send?.({ pong: FILLER });
    else if (message.pong) onPong();
    else if (message.gather) process.send?.({ metrics });
    else if (message.talkTo) {
      const peer = cluster.workerById?.(message.talkTo);
      const send = peer
        ? () => peer.send({ ping: FILLER })
        : () => process.send?.({ relay: message.talkTo, from: me, ping: FILLER });
      const trips = roundTrips(send, message.seconds);
      onPong = trips.onPong;
      process.send?.({ median: await trips.median });
    }
  });
  process.on('SIGINT', () => {});
  process.send?.({ ready: true });
}

if (cluster.isPrimary) primary();
else worker();
