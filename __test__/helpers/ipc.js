'use strict';

// Servers and channels of corral/net for tests: each test has a directory of its own, and what it opened is closed
// when it ends, however it ends.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const net = require('../../net.js');
const { environment } = require('./programs');
const { next } = require('./events');

/** @typedef {import('node:test').TestContext} TestContext */

const FIXTURES = path.join(__dirname, '../fixtures/net');

/** What keeps a test from waiting without end; nothing takes nearly so long. */
const WATCHDOG_MS = 120_000;

/** A first line as a channel's client says it. */
const GREETING = '{"corral":1,"serialization":"json","maxMessage":67108864}\n';

/**
 * A directory that goes with the test. Short, because a socket's path has no more than 107 bytes.
 *
 * @param {TestContext} t
 */
function scratch(t) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-'));
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** @param {TestContext} t @param {string} [name] */
function pathFor(t, name = 's') {
  return path.join(scratch(t), name);
}

/**
 * Closes a server and all of its channels.
 *
 * @param {any} server
 */
async function shut(server) {
  const closed = next(server, 'close');
  server.on('error', () => {});
  for (const channel of server.connections) {
    channel.on('error', () => {});
    channel.destroy();
  }
  server.close();
  await closed;
}

/**
 * A server that listens.
 *
 * @param {TestContext} t
 * @param {any} [options]
 * @param {{ path?: string, listen?: any }} [where]
 */
async function serve(t, options = {}, where = {}) {
  const server = net.createServer({ ipc: true, ...options });
  server.listen({ path: where.path ?? pathFor(t), ...where.listen });
  await next(server, 'listening');
  t.after(() => shut(server));
  return server;
}

/**
 * A channel on its way to a server.
 *
 * @param {TestContext} t
 * @param {any} server or a path
 * @param {any} [options]
 */
function open(t, server, options = {}) {
  const where = typeof server === 'string' ? server : server.address();
  const channel = net.connect({ ipc: true, path: where, ...options });
  t.after(() => {
    channel.on('error', () => {});
    channel.destroy();
  });
  return channel;
}

/**
 * A server, a channel to it, and the server's end of that.
 *
 * @param {TestContext} t
 * @param {any} [options] of both
 * @param {any} [clientOptions] of the client
 */
async function pair(t, options = {}, clientOptions = {}) {
  const server = await serve(t, options);
  const accepted = next(server, 'connection');
  const client = open(t, server, { ...options, ...clientOptions });
  const [peer] = await Promise.all([accepted, next(client, 'connect')]);
  return { server, client, peer };
}

/**
 * A Unix socket that is no channel.
 *
 * @param {TestContext} t
 * @param {any} server or a path
 */
async function raw(t, server) {
  const socket = net.connect(typeof server === 'string' ? server : server.address());
  socket.on('error', () => {});
  t.after(() => socket.destroy());
  await next(socket, 'connect');
  return socket;
}

/**
 * So many messages, in the order in which they come.
 *
 * @param {any} channel
 * @param {number} count
 * @returns {Promise<any[]>}
 */
function messages(channel, count) {
  return new Promise((resolve) => {
    /** @type {any[]} */
    const got = [];
    if (count === 0) resolve(got);
    channel.on('message', function onMessage(/** @type {any} */ message) {
      got.push(message);
      if (got.length < count) return;
      channel.removeListener('message', onMessage);
      resolve(got);
    });
  });
}

/**
 * The names of events as they come.
 *
 * @param {any} emitter
 * @param {string[]} names
 */
function record(emitter, names) {
  /** @type {string[]} */
  const seen = [];
  for (const name of names) emitter.on(name, () => seen.push(name));
  return seen;
}

/**
 * A process of its own, which is not there any more when the test has ended. It tells by lines on its standard output
 * and is told by lines on its standard input, all of JSON.
 *
 * @param {TestContext} t
 * @param {string} file in fixtures/net
 * @param {string[]} [args]
 * @param {{ uid?: number, gid?: number, env?: NodeJS.ProcessEnv, files?: number }} [options] files: `ulimit -n`
 */
function start(t, file, args = [], { files, env, ...options } = {}) {
  const command = [process.execPath, path.join(FIXTURES, file), ...args];
  const limited = ['/bin/sh', '-c', 'ulimit -n "$1" && shift && exec "$@"', 'sh', `${files}`, ...command];
  const [program, ...rest] = files === undefined ? command : limited;
  const child = spawn(program, rest, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: environment(env),
    ...options,
  });
  child.stdin.on('error', () => {});
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  /** @type {any[]} */
  const lines = [];
  /** @type {((line: any) => void)[]} */
  const readers = [];
  let broken = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    const complete = (broken + text).split('\n');
    // What breaks off because its writer was killed is nothing.
    broken = /** @type {string} */ (complete.pop());
    for (const line of complete) {
      const value = JSON.parse(line);
      const reader = readers.shift();
      if (reader) reader(value);
      else lines.push(value);
    }
  });
  const exited = new Promise((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal, stderr }));
  });
  const kill = () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    return exited;
  };
  t.after(kill);
  return {
    pid: /** @type {number} */ (child.pid),
    child,
    exited,
    kill,
    /** @param {any} order */
    tell: (order) => child.stdin.write(`${JSON.stringify(order)}\n`),
    /** @returns {Promise<any>} the next line; rejects if the process ends without one */
    line: () =>
      new Promise((resolve, reject) => {
        if (lines.length > 0) return resolve(lines.shift());
        readers.push(resolve);
        exited.then((/** @type {any} */ { code, signal }) =>
          reject(new Error(`the process has ended: ${code} ${signal}\n${stderr}`)),
        );
      }),
  };
}

module.exports = {
  GREETING,
  WATCHDOG_MS,
  messages,
  net,
  open,
  pair,
  pathFor,
  raw,
  record,
  scratch,
  serve,
  shut,
  start,
};
