'use strict';

// The commands that ask a running program, by its control socket.

const fs = require('node:fs');
const path = require('node:path');

const net = require('../net');
const { nameHere } = require('./config');
const { textOf } = require('./output');
const { namesOfSockets, socketOf } = require('./sockets');
const { statusTable } = require('./status-table');
const { UsageError } = require('./usage-error');

/** @typedef {import('./arguments').Parsed} Parsed */
/** @typedef {{ request: any, print: (reply: any) => void, onMessage?: (message: any) => void, goesOn?: boolean }} Plan */

/**
 * @param {Record<string, any>} flags
 * @returns {string} the socket of the program that is meant
 */
function find({ name, control }) {
  if (control !== undefined) return control;
  if (name !== undefined) return socketOf(name);
  const here = socketOf(nameHere(process.cwd()));
  if (fs.existsSync(here)) return here;
  const names = namesOfSockets();
  if (names.length === 1) return socketOf(names[0]);
  if (names.length === 0) throw new Error('no program runs');
  throw new UsageError(`which program? Give --name: ${names.join(', ')}`);
}

/**
 * @param {string} where
 * @returns {Promise<any>} a channel to it
 */
function connect(where) {
  return new Promise((resolve, reject) => {
    const channel = net.connect({ path: path.resolve(where), ipc: true });
    channel.once('connect', () => resolve(channel));
    channel.once('error', (/** @type {NodeJS.ErrnoException} */ error) => {
      const isNobody = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
      reject(new Error(isNobody ? `no program listens at ${where}` : `${where}: ${error.message}`));
    });
  });
}

/** @returns {boolean} on a terminal, unless the user wants it otherwise */
function hasColours() {
  const { NO_COLOR, FORCE_COLOR } = process.env;
  if (NO_COLOR) return false;
  return FORCE_COLOR ? FORCE_COLOR !== '0' : process.stdout.isTTY === true;
}

/** @param {string} text */
function print(text) {
  process.stdout.write(`${text}\n`);
}

/** @param {string[]} words @param {number} count */
function expectWords(words, count) {
  if (words.length > count) throw new UsageError(`${words[count]} is one word too many`);
}

/** @param {string[]} words @param {string} command @returns {number} */
function slotOf([slot], command) {
  if (slot === undefined || !/^\d+$/.test(slot))
    throw new UsageError(`${command} needs the number of a slot`);
  return Number(slot);
}

/** @type {Record<string, (parsed: Parsed) => Plan>} */
const PLANS = {
  status({ words }) {
    expectWords(words, 0);
    return { request: { command: 'status' }, print: (status) => print(statusTable(status, hasColours())) };
  },

  reload({ words, flags }) {
    expectWords(words, 0);
    return {
      request: { command: 'reload' },
      print: ({ replaced, milliseconds }) => print(`reloaded: ${replaced} replaced in ${milliseconds} ms`),
      onMessage: ({ reloading }) => {
        if (reloading && !flags.json) print(`reload: ${reloading.done} of ${reloading.total}`);
      },
    };
  },

  upgrade({ words }) {
    expectWords(words, 0);
    return {
      // This Node, and this corral.
      request: { command: 'upgrade', node: process.execPath, script: process.argv[1] },
      print: ({ pid, milliseconds }) => print(`${pid} serves, after ${milliseconds} ms`),
    };
  },

  scale({ words }) {
    expectWords(words, 1);
    const [count] = words;
    if (count === undefined || !/^[+-]?\d+$/.test(count)) throw new UsageError('scale needs N, +N or -N');
    const workers = /^\d/.test(count) ? Number(count) : count;
    return {
      request: { command: 'scale', workers },
      print: ({ before, size }) =>
        print(`${before} ${before === 1 ? 'worker' : 'workers'}, and ${size} from now on`),
    };
  },

  stop({ words, flags }) {
    expectWords(words, 0);
    return { request: { command: 'stop', now: flags.now === true }, print: () => print('stopped') };
  },

  kill({ words, flags }) {
    expectWords(words, 1);
    return {
      request: { command: 'kill', slot: slotOf(words, 'kill'), signal: flags.signal ?? 'SIGKILL' },
      print: ({ pid, signal }) => print(`sent ${signal} to ${pid}`),
    };
  },

  inspect({ words }) {
    expectWords(words, 1);
    return {
      request: { command: 'inspect', slot: slotOf(words, 'inspect') },
      print: ({ url }) => print(url),
    };
  },

  logs({ words, flags }) {
    expectWords(words, 0);
    const { lines = '100', follow = false, json = false } = flags;
    if (!/^\d+$/.test(lines)) throw new UsageError(`--lines needs a whole number, and not ${lines}`);
    const colours = hasColours();
    const show = (/** @type {any} */ line) => print(json ? JSON.stringify(line) : textOf(line, colours));
    return {
      request: { command: 'logs', lines: Number(lines), follow },
      print: (reply) => reply.lines.forEach(show),
      onMessage: ({ line }) => line && show(line),
      goesOn: follow,
    };
  },
};

/**
 * @param {string} command
 * @param {Parsed} parsed
 */
async function askProgram(command, parsed) {
  const plan = PLANS[command](parsed);
  const { request, onMessage = () => {}, goesOn = false } = plan;
  const channel = await connect(find(parsed.flags));
  channel.on('message', onMessage);
  const closed = new Promise((resolve) => channel.once('close', resolve));
  try {
    const reply = await channel.request(request);
    if (parsed.flags.json && command !== 'logs') print(JSON.stringify(reply));
    else plan.print(reply);
    // Until it is interrupted, or the program ends.
    if (goesOn) await closed;
  } finally {
    channel.disconnect();
  }
}

module.exports = { askProgram };
