'use strict';

// The cells of docs/compatibility.md: what runs for each, and what the document says of it.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const { BUN, DENO, NODES } = require('../lib-runtimes');

/** @typedef {import('../lib-runtimes').Runtime} Runtime */
/**
 * @typedef {object} Cell
 * @property {string} table
 * @property {string} row
 * @property {string} column
 * @property {string[]} runtimes by name
 * @property {(runtime: (name: string) => Runtime) => Promise<string>} run says what happens
 */

/** Nothing here takes nearly so long. */
const TIMEOUT_MS = 30_000;
const ALL = [...NODES, BUN, DENO];
const VALUES = ['an Error with a cause', 'a Float16Array', 'a DOMException'];

/**
 * @param {Runtime} runtime
 * @param {string} file of this folder
 * @param {string[]} [rest] what the program gets
 */
function start({ binary, args }, file, rest = []) {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(NODE_|CORRAL_)/.test(name)),
  );
  const child = spawn(binary, [...args, path.join(__dirname, file), ...rest], {
    env: { ...env, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MS);
  let [stdout, stderr] = ['', ''];
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  /** @type {Promise<void>} */
  const ready = new Promise((resolve) => {
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text;
      if (stdout.includes('\n')) resolve();
    });
    child.once('close', resolve);
  });
  /** @type {Promise<any>} what it says, as JSON */
  const said = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      const line = stdout.split('\n').find((text) => text.startsWith('{'));
      if (line !== undefined) resolve(JSON.parse(line));
      else
        reject(
          new Error(`${binary} ${file} ${rest.join(' ')} ended with ${signal ?? code}\n${stdout}${stderr}`),
        );
    });
  });
  return { child, ready, said };
}

/**
 * A worker of any runtime under a primary of Node's.
 *
 * @param {string} primary
 * @param {string} worker
 * @param {string} serialization
 */
function workerCell(primary, worker, serialization) {
  /** @type {Cell['run']} */
  const run = async (runtime) => {
    const outcomes = [];
    for (const load of ['plain', 'corral']) {
      const args = [JSON.stringify(runtime(worker)), serialization, load];
      outcomes.push((await start(runtime(primary), 'program.js', args).said).outcome);
    }
    const [plain, corral] = outcomes;
    return plain === corral ? plain : `without corral: ${plain}; with it: ${corral}`;
  };
  return { table: serialization, row: worker, column: primary, runtimes: [primary, worker], run };
}

/** @param {string} name */
function ownCell(name) {
  /** @type {Cell['run']} */
  const run = async (runtime) => {
    const { native, warnings, outcome } = await start(runtime(name), 'own.js').said;
    const what = native ? "corral's core" : 'its own cluster';
    return [outcome === 'works' ? `works on ${what}` : `${what}: ${outcome}`, ...warnings].join('; ');
  };
  return { table: 'primary', row: name, column: 'With workers of its own', runtimes: [name], run };
}

/**
 * @param {'net' | 'node-ipc'} what
 * @param {string} server
 * @param {string} client
 */
function socketCell(what, server, client) {
  /** @type {Cell['run']} */
  const run = async (runtime) => {
    const outcomes = new Set();
    for (const serialization of what === 'net' ? ['json', 'advanced'] : ['']) {
      const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-compatibility-'));
      const listening = start(runtime(server), 'peers.js', ['server', what, directory, serialization]);
      // It says why if it cannot serve, and is killed otherwise.
      const refused = listening.said.catch(() => undefined);
      try {
        await listening.ready;
        const connected = start(runtime(client), 'peers.js', ['client', what, directory, serialization]);
        const { outcome } = await connected.said;
        if (outcome !== 'works') listening.child.kill('SIGKILL');
        outcomes.add(outcome);
      } finally {
        listening.child.kill('SIGKILL');
        await refused;
        fs.rmSync(directory, { recursive: true });
      }
    }
    return [...outcomes].join('; ');
  };
  return { table: what, row: server, column: client, runtimes: [server, client], run };
}

/**
 * @param {string} value
 * @param {string} writer
 * @param {string} reader
 */
function valueCell(value, writer, reader) {
  /** @type {Cell['run']} */
  const run = async (runtime) =>
    (await start(runtime(writer), 'values.js', [JSON.stringify(runtime(reader)), value]).said).outcome;
  return { table: 'values', row: `${value}, ${writer}`, column: reader, runtimes: [writer, reader], run };
}

/** @type {Cell[]} */
const CELLS = [
  ...ALL.map(ownCell),
  ...['json', 'advanced'].flatMap((serialization) =>
    ALL.flatMap((worker) => NODES.map((primary) => workerCell(primary, worker, serialization))),
  ),
  // Where there is no core there is no channel, whoever is at the other end.
  ...ALL.flatMap((server) =>
    ALL.filter((client) => NODES.includes(client) && NODES.includes(server)).map((client) =>
      socketCell('net', server, client),
    ),
  ),
  ...[BUN, DENO].map((name) => socketCell('net', name, name)),
  ...ALL.flatMap((server) => ALL.map((client) => socketCell('node-ipc', server, client))),
  ...VALUES.flatMap((value) =>
    NODES.flatMap((writer) => NODES.map((reader) => valueCell(value, writer, reader))),
  ),
];

module.exports = { CELLS };
