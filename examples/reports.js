'use strict';

// A primary that listens on a Unix socket, and children that connect to it, get their work and report. What they say
// travels on channels, as messages. Run it with
//
//   node examples/reports.js          (BELOW=3000000 for more work)
//
// Three children, started by child_process.spawn, count the prime numbers below BELOW, a third each. The primary prints
// a line for each that has come and each report, then the sum. Any process of the same user that knows the path could
// connect. Ctrl-C stops them all; nothing stays behind in the directory for temporary files.

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const net = require('corral/net');

const CHILDREN = 3;
const DEFAULT_BELOW = 300_000;

/**
 * What the two say to each other: a child `hello`, the primary `work`, the child `report`.
 * @typedef {{ type: 'hello', name: string, pid: number }} Hello
 * @typedef {{ type: 'work', from: number, below: number }} Work
 * @typedef {{ type: 'report', name: string, primes: number }} Report
 */

/** @param {number} below */
async function runPrimary(below) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-'));
  const address = path.join(directory, 'reports.sock');
  const share = below / CHILDREN;
  let started = 0;
  let sum = 0;

  const server = net.createServer({ ipc: true }, (channel) => {
    channel.on('message', (/** @type {Hello | Report} */ message) => {
      if (message.type === 'hello') {
        console.log(`${message.name} (pid ${message.pid}) has come`);
        const from = Math.ceil(share * started++);
        channel.send({ type: 'work', from, below: Math.ceil(share * started) });
      } else {
        console.log(`${message.name} has found ${message.primes}`);
        sum += message.primes;
        channel.disconnect();
      }
    });
    // Of a child that was killed; its 'exit' says it, too.
    channel.on('error', (error) => console.error(error.message));
  });
  server.listen(address);
  await once(server, 'listening');

  const exits = [];
  for (let i = 1; i <= CHILDREN; i++) {
    const name = `child ${i}`;
    const child = spawn(process.execPath, [__filename, name, address], { stdio: 'inherit' });
    exits.push(once(child, 'exit').then(([code, signal]) => ({ name, code, signal })));
  }
  // A Ctrl-C in a terminal goes to the children as well; when they have ended we clean up.
  process.on('SIGINT', () => {});

  const failed = (await Promise.all(exits)).filter(({ code }) => code !== 0);
  server.close();
  fs.rmSync(directory, { recursive: true });
  if (failed.length === 0) {
    console.log(`${sum} prime numbers below ${below}`);
    return;
  }
  for (const { name, code, signal } of failed) console.error(`${name} died (${signal ?? `code ${code}`})`);
  process.exitCode = 1;
}

/**
 * @param {string} name
 * @param {string} address
 */
function runChild(name, address) {
  const channel = net.connect({ ipc: true, path: address });
  channel.send({ type: 'hello', name, pid: process.pid });
  channel.on('message', (/** @type {Work} */ { from, below }) => {
    channel.send({ type: 'report', name, primes: countPrimes(from, below) });
  });
  // Nothing but the channel keeps the child alive: it ends when the primary disconnects, or is gone.
}

/**
 * @param {number} from
 * @param {number} below
 */
function countPrimes(from, below) {
  let primes = 0;
  for (let n = Math.max(from, 2); n < below; n++) {
    let divisor = 2;
    while (divisor * divisor <= n && n % divisor !== 0) divisor++;
    if (divisor * divisor > n) primes++;
  }
  return primes;
}

const [name, address] = process.argv.slice(2);
if (address === undefined) runPrimary(Number(process.env.BELOW ?? DEFAULT_BELOW));
else runChild(name, address);
