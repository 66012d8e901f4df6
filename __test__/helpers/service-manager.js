'use strict';

// A service manager for tests: service-manager.py, which plays systemd's part.

const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const path = require('node:path');
const readline = require('node:readline');

const PROGRAM = path.join(__dirname, 'service-manager.py');
const { status } = spawnSync('python3', ['-c', 'import os; os.pidfd_open']);

/** Why there is none here, or false: for `skip` of a test. */
const noManager = status !== 0 && 'this needs Linux and Python 3.9 or newer';

/**
 * @param {import('node:test').TestContext} t
 * @param {object} config see service-manager.py
 * @param {string[]} command
 * @param {{ cwd: string, env: NodeJS.ProcessEnv }} options
 */
function manage(t, config, command, options) {
  const manager = spawn('python3', [PROGRAM, JSON.stringify(config), ...command], {
    ...options,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  // The service ends with it.
  t.after(() => manager.stdin.end());
  let text = '';
  manager.stderr.setEncoding('utf8').on('data', (piece) => {
    text += piece;
  });
  /** @type {any[]} */
  const lines = [];
  readline.createInterface({ input: manager.stdout }).on('line', (line) => {
    // The service writes to the same pipe.
    if (line.startsWith('{')) lines.push(JSON.parse(line));
    else text += `${line}\n`;
    manager.emit('heard');
  });
  const close = once(manager, 'close');
  /**
   * @param {(line: any) => boolean} isIt
   * @param {number} [from] as many lines are passed over
   * @returns {Promise<any>} the first such line
   */
  const line = async (isIt, from = 0) => {
    for (;;) {
      const found = lines.slice(from).find(isIt);
      if (found !== undefined) return found;
      const isOver = await Promise.race([once(manager, 'heard').then(() => false), close.then(() => true)]);
      if (isOver && !lines.slice(from).some(isIt)) throw new Error(`it has ended: ${text}`);
    }
  };
  return {
    line,
    lines: () => lines,
    /** @param {string} message which may begin one @param {number} [from] */
    told: (message, from = 0) =>
      line(({ told = [] }) => told.some((/** @type {string} */ one) => one.startsWith(message)), from),
    text: () => text,
    pid: async () => (await line(({ started }) => started !== undefined)).started,
    addresses: async () => (await line(({ addresses }) => addresses !== undefined)).addresses,
    code: async () => (await line(({ code }) => code !== undefined)).code,
  };
}

module.exports = { manage, noManager };
