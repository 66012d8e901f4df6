'use strict';

// Redis servers for tests: Debian's redis-server, each on a Unix socket in a directory of its own.

const { execFileSync, spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { freePort } = require('../../scripts/lib-free-port');
const { redisServer } = require('../../scripts/lib-redis');

/** A server, which may be ended and started again. */
class RedisServer {
  #program = redisServer();
  #settings;
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #child;

  #words;

  /** @param {Record<string, string>} [settings] of redis.conf @param {string[]} [words] before them */
  constructor(settings = {}, words = []) {
    this.#words = words;
    this.directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-redis-'));
    this.socket = path.join(this.directory, 'redis.sock');
    this.#settings = /** @type {Record<string, string>} */ ({
      port: '0',
      unixsocket: this.socket,
      dir: this.directory,
      save: '',
      ...settings,
    });
  }

  get url() {
    return `redis+unix://${this.socket}`;
  }

  /** @param {Record<string, string>} settings more of them, before it is started */
  set(settings) {
    Object.assign(this.#settings, settings);
  }

  get pid() {
    return this.#child?.pid ?? 0;
  }

  /** Resolves when it takes connections. */
  async start() {
    // A sentinel has these in its file.
    const settings = this.#words.includes('--sentinel') ? { unixsocket: this.socket } : this.#settings;
    const options = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
    fs.rmSync(this.socket, { force: true });
    const child = spawn(this.#program, [...this.#words, ...options], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#child = child;
    let output = '';
    child.stdout?.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
    const ended = once(child, 'exit').then(() => {
      throw new Error(`redis-server has ended: ${output}`);
    });
    ended.catch(() => {});
    await Promise.race([ended, this.#isReady(child)]);
    return this;
  }

  /** @param {import('node:child_process').ChildProcess} child */
  async #isReady(child) {
    while (child.exitCode === null) {
      const answer = await command(this, 'PING').catch(() => '');
      // Others are that it wants a password, which it does when it is ready.
      if (/^(\+PONG|-NOAUTH|-DENIED)/.test(answer)) return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** @param {NodeJS.Signals} [signal] */
  async stop(signal = 'SIGKILL') {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, 'exit');
  }

  /** Ends it for good. */
  async remove() {
    await this.stop();
    fs.rmSync(this.directory, { recursive: true, force: true });
  }
}

/**
 * One command on a connection of its own, without a client.
 *
 * @param {RedisServer} server
 * @param {...string} words
 * @returns {Promise<string>} the answer as the server writes it
 */
async function command(server, ...words) {
  const socket = net.connect(server.socket);
  const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
  socket.write(`*${words.length}\r\n${parts.join('')}`);
  socket.write('*1\r\n$4\r\nQUIT\r\n');
  let answer = '';
  for await (const chunk of socket.setEncoding('utf8')) {
    answer += chunk;
    // A sentinel does not know it.
    if (/^-ERR unknown command .*QUIT.*\r\n$/im.test(answer)) break;
  }
  return answer.replace(/(\+OK|-ERR unknown command .*QUIT.*)\r\n$/i, '');
}

/** @returns {Promise<{ port: string, 'cluster-port'?: string }>} the ports of a node of a cluster */
async function nodePorts() {
  const version = /v=(\d+)/.exec(String(execFileSync(redisServer(), ['--version'])))?.[1];
  const port = await freePort();
  if (Number(version) >= 7) return { port: `${port}`, 'cluster-port': `${await freePort()}` };
  // Redis 6 takes the port that is 10,000 above, and no other.
  return port + 10_000 <= 65_535 ? { port: `${port}` } : nodePorts();
}

module.exports = { RedisServer, command, nodePorts };
