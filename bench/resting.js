'use strict';

// What connections that rest cost the primary: memory, and processor time while few of many ask. See README.md.

const { once } = require('node:events');
const net = require('node:net');
const path = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');

const { readOptions } = require('./lib/options');
const { residentMiB, runTime } = require('./lib/proc');
const { Remote } = require('./lib/remote');

const PROGRAM = path.join(__dirname, 'programs/resting-primary.js');
const REQUEST = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';
/** How many connections ask, and how often one of them does. */
const ASKING = 10;
const EVERY_MILLISECONDS = 5;
/** How many connect at the same time: fewer than the backlog. */
const AT_ONCE = 64;

const options = readOptions({ seconds: 5, connections: '1000,9000' });

/** @param {net.Socket} socket one request, and its answer */
function ask(socket) {
  return new Promise((resolve) => {
    socket.once('data', resolve);
    socket.write(REQUEST);
  });
}

/** @param {number} port */
async function connect(port) {
  const socket = net.connect(port, '127.0.0.1');
  // Its failure ends the bench.
  await once(socket, 'connect');
  await ask(socket);
  return socket;
}

/**
 * @param {string} keepAlive
 * @param {number} count
 */
async function measure(keepAlive, count) {
  const program = new Remote(PROGRAM, { args: [keepAlive], execArgv: ['--expose-gc'] });
  /** @type {net.Socket[]} */
  const sockets = [];
  try {
    const port = await program.ask('start');
    sockets.push(await connect(port));
    const memory = async () => {
      await program.ask('collectGarbage');
      return residentMiB(program.pid) * 2 ** 20;
    };
    const before = await memory();
    while (sockets.length < count) {
      const batch = Math.min(AT_ONCE, count - sockets.length);
      sockets.push(...(await Promise.all(Array.from({ length: batch }, () => connect(port)))));
    }
    await sleep(500);
    const held = await program.ask('kept');
    const bytes = ((await memory()) - before) / (count - 1);
    const idle = await cpuPerSecond(program.pid, () => sleep(options.seconds * 1000));
    let requests = 0;
    const busy = await cpuPerSecond(program.pid, async () => {
      const end = performance.now() + options.seconds * 1000;
      while (performance.now() < end) {
        await ask(sockets[requests++ % ASKING]);
        await sleep(EVERY_MILLISECONDS);
      }
    });
    return { held, bytes, idle, perRequest: ((busy - idle) * options.seconds) / requests };
  } finally {
    for (const socket of sockets) socket.destroy();
    await program.stop();
  }
}

/**
 * @param {number} pid
 * @param {() => Promise<void>} work
 * @returns {Promise<number>} in us
 */
async function cpuPerSecond(pid, work) {
  const [began, before] = [performance.now(), runTime(pid)];
  await work();
  return (runTime(pid) - before) / ((performance.now() - began) / 1000);
}

async function main() {
  const rows = [];
  for (const count of options.connections.split(',').map(Number)) {
    for (const keepAlive of ['stay', 'balance']) {
      rows.push({ connections: count, keepAlive, ...(await measure(keepAlive, count)) });
    }
  }
  if (options.json) return console.log(JSON.stringify(rows));
  console.log(
    'resting: connections that say nothing, two workers; of the primary: descriptors held, resident bytes for each\n' +
      'connection, us of CPU a second while nobody asks, and us for a request while ten of them ask 200 times a second\n',
  );
  console.log('connections  keepAlive      held     bytes   us/s idle   us/request');
  for (const { connections, keepAlive, held, bytes, idle, perRequest } of rows) {
    const columns = [held, bytes.toFixed(0), idle.toFixed(0), perRequest.toFixed(0)];
    console.log(
      `${String(connections).padStart(11)}  ${keepAlive.padEnd(9)}${columns.map((text, index) => String(text).padStart([10, 10, 12, 13][index])).join('')}`,
    );
  }
}

main();
