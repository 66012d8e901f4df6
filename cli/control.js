'use strict';

// The control socket of a running program: a server of corral/net with `ipc: true`. A request is an object with a `command`; docs/running.md
// has them all. Only processes of the same user, and root's, may connect; the kernel vouches for that.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const net = require('../net');
const { KEPT } = require('./output');
const { MOST_WORKERS } = require('./settings');

/** The version of what is spoken here. */
const VERSION = 1;

/**
 * @typedef {object} Program
 * @property {string} name
 * @property {string} script
 * @property {any} supervisor
 * @property {import('./upgrade').Upgrade} upgrade
 * @property {any} cluster
 * @property {import('./output').Output} output
 * @property {() => Promise<any>} reload
 * @property {(now: boolean) => Promise<void>} stop
 */

/** @type {Record<string, (program: Program, request: any, channel: any) => any>} */
const COMMANDS = {
  status: ({ name, script, supervisor }) => ({
    version: VERSION,
    name,
    script,
    pid: process.pid,
    node: process.version,
    uptime: Math.round(process.uptime() * 1000),
    ...supervisor.status(),
  }),

  reload: async ({ supervisor, reload }, _request, channel) => {
    const tell = (/** @type {any} */ progress) => {
      if (channel.connected) channel.send({ reloading: progress }, () => {});
    };
    supervisor.on('reloading', tell);
    try {
      return await reload();
    } finally {
      supervisor.removeListener('reloading', tell);
    }
  },

  scale: ({ supervisor }, { workers }) => {
    const { size: before } = supervisor.status();
    const isRelative = typeof workers === 'string' && /^[+-]\d+$/.test(workers);
    const size = isRelative ? before + Number(workers) : workers;
    if (!Number.isInteger(size) || size < 1 || size > MOST_WORKERS)
      throw new Error(`there can be 1 to ${MOST_WORKERS} workers, and not ${size}: there are ${before}`);
    supervisor.scale(size);
    return { before, size };
  },

  stop: async ({ stop }, { now = false }) => {
    await stop(now === true);
    return {};
  },

  upgrade: ({ upgrade }, { node, script }) => {
    for (const [name, file] of Object.entries({ node, script })) {
      if (file !== undefined && (typeof file !== 'string' || !path.isAbsolute(file)))
        throw new Error(`${name} must be an absolute path`);
    }
    return upgrade.begin({ node, script });
  },

  // What a new primary asks the old one for.
  yield: ({ upgrade }) => upgrade.yield(),
  giveUp: ({ upgrade }, { reason }) => upgrade.giveUp(`${reason}`),

  kill: ({ supervisor, cluster }, { slot, signal = 'SIGKILL' }) => {
    if (!Object.hasOwn(os.constants.signals, signal)) throw new Error(`there is no signal ${signal}`);
    const { workers } = supervisor.status();
    const one =
      workers.find((/** @type {any} */ worker) => worker.slot === slot && worker.state === 'ready') ??
      workers.find((/** @type {any} */ worker) => worker.slot === slot);
    if (one === undefined) throw new Error(`there is no worker in slot ${slot}`);
    // Not one that has been reaped meanwhile, whose number may be another's.
    cluster.workers[one.id]?.process.kill(signal);
    return { slot, pid: one.pid, signal };
  },

  inspect: async ({ supervisor }, { slot }) => ({ slot, url: await supervisor.inspect(slot) }),

  logs: ({ output }, { lines = 100, follow = false }, channel) => {
    if (!Number.isInteger(lines) || lines < 0) throw new Error('lines must be a whole number');
    if (follow) {
      const send = (/** @type {import('./output').Line} */ line) => {
        // Who does not read gets no more, and is cut off.
        if (!channel.send({ line }, () => {})) channel.destroy();
      };
      output.listeners.add(send);
      channel.once('close', () => output.listeners.delete(send));
    }
    return { lines: output.last(Math.min(lines, KEPT)) };
  },
};

/**
 * @param {Program} program
 * @param {string} path
 * @returns {Promise<{ close: () => void }>} when it listens; rejects with EADDRINUSE if another program does there
 */
async function serveControl(program, path) {
  const server = net.createServer({ ipc: true, maxConnections: 64 }, (/** @type {any} */ channel) => {
    // One that breaks the protocol has lost its channel, and nobody else has.
    channel.on('error', () => {});
    channel.on('message', (/** @type {any} */ message, /** @type {unknown} */ fd) => {
      if (typeof fd === 'number') program.upgrade.handOver(message?.succession, fd);
    });
    channel.respond(async (/** @type {any} */ request) => {
      const command = COMMANDS[request?.command];
      if (command === undefined || !Object.hasOwn(COMMANDS, request.command))
        throw new Error(`there is no command ${request?.command}`);
      return command(program, request, channel);
    });
  });
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path }, () => resolve(undefined));
  });
  server.on('error', (/** @type {Error} */ error) => program.output.say(`control socket: ${error.message}`));
  return {
    close: () => {
      server.close();
      fs.rmSync(path, { force: true });
    },
  };
}

module.exports = { VERSION, serveControl };
