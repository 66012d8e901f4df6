'use strict';

// socket.io over several workers: corral's policy 'sticky' beside @socket.io/sticky on the built-in. See README.md.

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');
const readline = require('node:readline');
const { readOptions } = require('./lib/options');
const { cpuTime } = require('./lib/proc');
const { SIDE_VARIABLE } = require('./lib/side');

const PROGRAM = path.join(__dirname, 'programs/sticky.js');
const SIDES = { builtin: '@socket.io/sticky on the built-in', corral: "corral, 'sticky'" };
const TARGET_RATE = 1.3;
/** A client that is not served within so many milliseconds has failed. */
const PATIENCE = 10_000;
const options = readOptions({ pairs: 3, workers: 4, clients: 200, every: 1000, silent: 1000 });

/**
 * Runs a program of a side.
 *
 * @template T
 * @param {string} side
 * @param {number} every a worker is killed each time so many milliseconds have gone; 0 for never
 * @param {(port: number) => Promise<T>} use
 */
async function withProgram(side, every, use) {
  const settings = JSON.stringify({ workers: options.workers, every });
  const child = spawn(process.execPath, [PROGRAM, settings], {
    env: { ...process.env, [SIDE_VARIABLE]: side },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const read = async () => JSON.parse((await lines.next()).value);
  const { port, pids, lines: setup } = await read();
  const cpuTimes = () => [child.pid, ...pids].map(cpuTime);
  try {
    const before = cpuTimes();
    const result = await use(port);
    const [primaryCpu, ...workersCpu] = cpuTimes().map((time, place) => time - before[place]);
    child.kill('SIGTERM');
    return { ...result, ...(await read()), setup, primaryCpu, workersCpu };
  } finally {
    child.kill('SIGTERM');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
}

/** @param {number} port @returns {Promise<boolean>} whether a client was served, by long polling and then a WebSocket */
function connectOne(port) {
  const { io } = require('socket.io-client');
  const client = io(`http://127.0.0.1:${port}`, { forceNew: true, reconnection: false });
  return new Promise((resolve) => {
    const end = (/** @type {boolean} */ isServed) => {
      clearTimeout(timer);
      // Closing it is a 'disconnect' as well.
      resolve(isServed);
      client.close();
    };
    const timer = setTimeout(() => end(false), PATIENCE);
    client.io.engine.once('upgradeError', () => end(false));
    client.once('connect_error', () => end(false));
    client.once('disconnect', () => end(false));
    client.once('hello', () => {
      if (client.io.engine.transport.name === 'websocket') end(true);
      else client.io.engine.once('upgrade', () => end(true));
    });
  });
}

/** Clients that come and go, so many at the same time. @param {number} port */
async function connectMany(port) {
  const until = Date.now() + options.seconds * 1000;
  let served = 0;
  let failed = 0;
  const began = Date.now();
  await Promise.all(
    Array.from({ length: options.clients }, async () => {
      while (Date.now() < until) {
        if (await connectOne(port)) served += 1;
        else failed += 1;
      }
    }),
  );
  return { rate: (served * 1000) / (Date.now() - began), served, failed };
}

/**
 * A request of long polling: the first of a session, or one that brings its first packet.
 *
 * @param {number} port @param {http.Agent} agent @param {string} [sid]
 * @returns {Promise<{ status: number | undefined, text: string }>}
 */
function poll(port, agent, sid) {
  return new Promise((resolve) => {
    const target = `/socket.io/?EIO=4&transport=polling${sid ? `&sid=${sid}` : ''}`;
    const method = sid ? 'POST' : 'GET';
    const request = http.request(
      { port, host: '127.0.0.1', agent, path: target, method },
      async (response) => {
        let text = '';
        for await (const part of response.setEncoding('utf8')) text += part;
        resolve({ status: response.statusCode, text });
      },
    );
    // The connection was closed instead of an answer.
    request.on('error', () => resolve({ status: 0, text: '' }));
    request.end(sid ? '40' : undefined);
  });
}

/** Pairs of sessions whose requests come on one kept connection: how many of the second are not known. @param {number} port */
async function shareConnections(port) {
  let unknown = 0;
  for (let pair = 0; pair < 20; pair += 1) {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const fresh = new http.Agent();
    const sids = [];
    for (let session = 0; session < 2; session += 1) {
      const { text } = await poll(port, fresh);
      sids.push(JSON.parse(text.slice(1) || '{}').sid);
    }
    for (const sid of sids) {
      const { status } = await poll(port, agent, sid);
      if (status !== 200) unknown += 1;
    }
    agent.destroy();
  }
  return { unknownOfShared: unknown };
}

/** @param {number[]} values @param {number} share */
function quantile(values, share) {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor((sorted.length - 1) * share)] ?? NaN;
}

/** How long handshakes take, one after the other. @param {number} port */
async function handshakes(port) {
  const agent = new http.Agent();
  const times = [];
  const until = Date.now() + (options.seconds * 1000) / 2;
  while (Date.now() < until) {
    const began = performance.now();
    await poll(port, agent);
    times.push(performance.now() - began);
  }
  return quantile(times, 0.99);
}

/** Clients that send one byte and wait. @param {number} port */
async function besideSilent(port) {
  const before = await handshakes(port);
  const silent = await Promise.all(
    Array.from({ length: options.silent }, async () => {
      const socket = net.connect(port, '127.0.0.1').on('error', () => {});
      await once(socket, 'connect');
      socket.write('G');
      return socket;
    }),
  );
  const beside = await handshakes(port);
  for (const socket of silent) socket.destroy();
  return { before, beside };
}

async function main() {
  /** @type {Record<string, any[]>} */
  const results = { builtin: [], corral: [] };
  const shared = /** @type {Record<string, any>} */ ({});
  for (let pair = 0; pair < options.pairs; pair += 1) {
    for (const side of Object.keys(SIDES)) {
      const quiet = await withProgram(side, 0, connectMany);
      const killing = await withProgram(side, options.every, connectMany);
      results[side].push({ rate: quiet.rate, setup: quiet.setup, quiet, killing });
    }
  }
  for (const side of Object.keys(SIDES)) shared[side] = await withProgram(side, 0, shareConnections);
  const silent = await withProgram('corral', 0, besideSilent);

  console.log(
    `${options.workers} workers, ${options.clients} clients, socket.io: long polling, then a WebSocket`,
  );
  console.log(
    '| side | lines of set-up | clients/s | killed | "Session ID unknown" for a worker that lives | of 40 on shared connections |',
  );
  console.log('| --- | --- | --- | --- | --- | --- |');
  for (const [side, label] of Object.entries(SIDES)) {
    const runs = results[side];
    const sum = (/** @type {string} */ name) => runs.reduce((total, run) => total + run.killing[name], 0);
    const rate = quantile(
      runs.map((run) => run.rate),
      0.5,
    ).toFixed(0);
    console.log(
      `| ${label} | ${runs[0].setup} | ${rate} | ${sum('kills')} | ${sum('unknown')} | ${shared[side].unknownOfShared} |`,
    );
  }
  const ratios = results.corral.map(({ rate }, pair) => rate / results.builtin[pair].rate);
  const ratio = quantile(ratios, 0.5);
  const { before, beside } = silent;
  console.log(`\nclients/s, ours against it: ${ratio.toFixed(2)}`);
  // The clients are one process, which may be what bounds the rate.
  for (const [side, label] of Object.entries(SIDES)) {
    const perClient = (/** @type {(quiet: any) => number} */ time) =>
      quantile(
        results[side].map(({ quiet }) => time(quiet) / quiet.served),
        0.5,
      ).toFixed(0);
    const primary = perClient(({ primaryCpu }) => primaryCpu);
    const workers = perClient(({ workersCpu }) =>
      workersCpu.reduce((/** @type {number} */ total, /** @type {number} */ time) => total + time, 0),
    );
    console.log(`CPU per client, ${label}: primary ${primary} us, workers ${workers} us`);
  }
  console.log(
    `p99 of a handshake: ${before.toFixed(2)} ms, beside ${options.silent} silent clients ${beside.toFixed(2)} ms`,
  );
  const unknown = results.corral.reduce((total, { killing }) => total + killing.unknown, 0);
  if (options.check && (ratio < TARGET_RATE || unknown > 0 || beside > 2 * before)) process.exitCode = 1;
}

main();
