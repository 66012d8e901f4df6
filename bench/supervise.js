'use strict';

// How soon a supervisor does what it is for: a worker that grows is replaced, one that hangs is, and a newcomer's first request is answered. See
// README.md.

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { readOptions } = require('./lib/options');
const { freePort } = require('../scripts/lib-free-port');

const CORRAL = path.join(__dirname, '../cli/corral.js');
const HOST = '127.0.0.1';

const options = readOptions({ pairs: 10, rate: 200, parts: 'memory,hung,start' });

/** The limit, and how much a worker grows in a second, in bytes. */
const LIMIT = 150 * 2 ** 20;
const GROWTH = 20 * 2 ** 20;
/** In milliseconds. */
const HUNG_AFTER = 2_000;

/** '/grow' has the worker grow from then on, '/hang' has it hang; it says in its header who it is. */
const APP = `
  const http = require('node:http');
  const held = [];
  http.createServer((request, response) => {
    if (request.url === '/hang') for (;;);
    if (request.url === '/grow') setInterval(() => held.push(Buffer.alloc(${GROWTH} / 20, 1)), 50);
    response.end(String(process.pid));
  }).listen(process.env.PORT, '${HOST}');
`;

/** @param {number} port @param {string} [place] @returns {Promise<string>} */
function ask(port, place = '/') {
  return new Promise((resolve, reject) => {
    const request = http.get({ port, host: HOST, path: place, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (piece) => {
        body += piece;
      });
      response.on('end', () => resolve(body)).on('error', reject);
    });
    request.on('error', reject);
  });
}

/** @param {number} port @returns {Promise<void>} when somebody answers */
async function answers(port) {
  // Without a pause it would take one of two cores from those that are about to answer.
  for (; ; await new Promise((resolve) => setTimeout(resolve, 1))) {
    const isThere = await ask(port).then(
      () => true,
      () => false,
    );
    if (isThere) return;
  }
}

/** @param {number} pid @returns {number} bytes; 0 of one that has ended */
function memoryOf(pid) {
  try {
    return (
      Number(/^VmRSS:\s+(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) * 1024
    );
  } catch {
    return 0;
  }
}

/** Asks at a steady rate, and counts. */
class Load {
  #timer;
  sent = 0;
  lost = 0;
  longest = 0;
  /** @type {Set<Promise<void>>} */
  #under = new Set();
  /** Who has answered last. */
  onAnswer = (/** @type {string} */ _pid) => {};

  /** @param {number} port */
  constructor(port) {
    this.#timer = setInterval(() => {
      const at = performance.now();
      this.sent++;
      const one = ask(port).then(
        (pid) => {
          this.longest = Math.max(this.longest, performance.now() - at);
          this.onAnswer(pid);
        },
        () => {
          this.lost++;
        },
      );
      this.#under.add(one);
      one.then(() => this.#under.delete(one));
    }, 1000 / options.rate);
  }

  async end() {
    clearInterval(this.#timer);
    await Promise.all(this.#under);
  }
}

/**
 * @param {string} directory
 * @param {string[]} flags
 * @param {(port: number, said: () => string) => Promise<void>} measure
 */
async function withProgram(directory, flags, measure) {
  const port = await freePort();
  const env = { ...process.env, PORT: `${port}`, XDG_RUNTIME_DIR: directory };
  const words = ['run', '--workers', '3', '--name', 'bench', ...flags, path.join(directory, 'app.js')];
  const child = spawn(process.execPath, [CORRAL, ...words], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (piece) => {
    said += piece;
  });
  try {
    while (!said.includes('[corral] ready')) await once(child.stderr, 'data');
    await measure(port, () => said);
  } finally {
    child.kill('SIGTERM');
    await once(child, 'exit');
  }
}

/** @param {string} directory */
async function measureMemory(directory) {
  await withProgram(directory, ['--hard-memory', `${LIMIT}`, '--idle', '100ms'], async (port, said) => {
    const load = new Load(port);
    const pid = Number(await ask(port, '/grow'));
    while (memoryOf(pid) < LIMIT) await new Promise((resolve) => setTimeout(resolve, 5));
    const passed = performance.now();
    let seen = passed;
    let memory = 0;
    load.onAnswer = (who) => {
      if (Number(who) !== pid) return;
      seen = performance.now();
      memory = memoryOf(pid);
    };
    while (!said().includes('is replaced')) await new Promise((resolve) => setTimeout(resolve, 5));
    const told = performance.now();
    while (memoryOf(pid) > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await load.end();
    console.log(
      `memory: found ${(told - passed).toFixed(0)} ms after it had passed the limit, last served ${(seen - passed).toFixed(0)} ms after it with ${Math.round(memory / 2 ** 20)} MiB; ${load.lost} of ${load.sent} requests lost`,
    );
  });
}

/** @param {string} directory */
async function measureHung(directory) {
  await withProgram(directory, ['--hung-after', `${HUNG_AFTER}ms`], async (port, said) => {
    // Those who show that they turn are watched.
    await new Promise((resolve) => setTimeout(resolve, 2 * HUNG_AFTER));
    const load = new Load(port);
    const begin = performance.now();
    ask(port, '/hang').catch(() => {});
    while (!said().includes('was hung')) await new Promise((resolve) => setTimeout(resolve, 5));
    const found = performance.now();
    const listening = () => said().split('is started anew').length;
    while (listening() < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    await load.end();
    console.log(
      `hung: found after ${(found - begin).toFixed(0)} ms with --hung-after ${HUNG_AFTER}ms; ${load.lost} of ${load.sent} other requests lost, longest ${load.longest.toFixed(0)} ms`,
    );
  });
}

/** @param {() => import('node:child_process').ChildProcess} start @param {number} port @returns {Promise<number>} milliseconds until a request is answered */
async function timeToServe(start, port) {
  const begin = performance.now();
  const child = start();
  await answers(port);
  const took = performance.now() - begin;
  child.kill('SIGTERM');
  await once(child, 'exit');
  return took;
}

/** @param {string} directory */
async function measureStart(directory) {
  const app = path.join(directory, 'app.js');
  const forking = path.join(directory, 'fork.js');
  // One process that starts another, which is the program: what a cluster of one worker cannot do without.
  fs.writeFileSync(
    forking,
    `const child = require('node:child_process').fork(${JSON.stringify(app)});
    child.once('exit', () => process.exit());
    process.on('SIGTERM', () => child.kill());`,
  );
  /** @type {{ ours: number[], plain: number[] }} */
  const times = { ours: [], plain: [] };
  for (let i = 0; i < options.pairs; i++) {
    for (const side of /** @type {const} */ (['plain', 'ours'])) {
      const port = await freePort();
      const env = { ...process.env, PORT: `${port}`, XDG_RUNTIME_DIR: directory };
      const words = side === 'plain' ? [forking] : [CORRAL, 'run', '--workers', '1', '--name', 'bench', app];
      const start = () => spawn(process.execPath, words, { env, stdio: 'ignore' });
      times[side].push(await timeToServe(start, port));
    }
  }
  const median = (/** @type {number[]} */ all) => all.sort((a, b) => a - b)[Math.floor(all.length / 2)];
  const [ours, plain] = [median(times.ours), median(times.plain)];
  console.log(
    `start: a request is answered ${ours.toFixed(0)} ms after corral run, ${plain.toFixed(0)} ms after a process that forks the program; ${(ours / plain).toFixed(2)} x`,
  );
}

/** @type {Record<string, (directory: string) => Promise<void>>} */
const PARTS = { memory: measureMemory, hung: measureHung, start: measureStart };

async function main() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-supervise-'));
  fs.chmodSync(directory, 0o700);
  fs.writeFileSync(path.join(directory, 'app.js'), APP);
  try {
    for (const name of `${options.parts}`.split(',')) {
      if (PARTS[name] === undefined)
        throw new Error(`--parts wants some of ${Object.keys(PARTS).join(', ')}`);
      await PARTS[name](directory);
    }
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
