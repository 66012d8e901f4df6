'use strict';

// Tests that are whole programs: each runs in a process of its own, so that a crash or a hang of it is a result.
//
// A file beside the test that names it exports a table of programs; programs(file) makes a test of each. run-program.js is what runs
// in the process. A program passes when its primary ends by itself with code 0 and leaves no process behind.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { killAllOnSignals, runGroup } = require('../../scripts/lib-process-group.js');
const { nodeWithout } = require('./node-without');
const { silentKernel } = require('./silent-kernel');

/** @typedef {import('../../scripts/lib-process-group.js').Outcome} Outcome */

/**
 * @typedef {object} Program
 * @property {string[]} [modes] serializations to run it with; default: once, with nothing set
 * @property {string[]} [policies] what `schedulingPolicy` to run it with; default: once, with nothing set
 * @property {boolean} [linux] it looks into /proc or relies on what only Linux does
 * @property {number} [files] how many descriptors each of its processes may have (ulimit -n)
 * @property {NodeJS.ProcessEnv} [env]
 * @property {string} [without] a symbol that its Node does not export to addons
 * @property {boolean} [silent] the kernel does not tell its processes what others wait for
 * @property {string} [todo] why it cannot pass yet
 * @property {string | false} [skip] what this Node lacks for it
 * @property {number} [timeout] in milliseconds
 * @property {(context: import('./run-program').Context) => unknown} primary
 * @property {(context: import('./run-program').Context) => unknown} [worker] called in every worker
 * @property {(outcome: Outcome) => void} [verify] in place of the check that it ended well
 */

const TABLES = path.join(__dirname, '../cluster');
const RUNNER = path.join(__dirname, 'run-program.js');

/** The slowest program takes a tenth of this on an idle machine: others may want its processors. */
const TIMEOUT_MS = 180_000;

/** How to make a shell limit the descriptors of what it becomes. */
const LIMITED = 'ulimit -n "$1" && shift && exec "$@"';

killAllOnSignals();

/** @param {NodeJS.ProcessEnv} [extra] */
function environment(extra) {
  // What the test runner tells its own processes is not for ours.
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('NODE_'));
  return { ...Object.fromEntries(own), ...extra };
}

/** @param {Outcome} outcome */
function assertEndedWell({ code, signal, timedOut, leftovers, output }) {
  const tail = output.split('\n').slice(-40).join('\n');
  assert.equal(timedOut, false, `the program did not end\n${tail}`);
  assert.deepEqual({ code, signal }, { code: 0, signal: null }, tail);
  assert.deepEqual(leftovers, [], `processes were left behind\n${tail}`);
}

/**
 * @param {string[]} command
 * @param {{ files?: number, env?: NodeJS.ProcessEnv, timeout?: number }} options
 * @returns {Promise<Outcome>}
 */
async function run(command, { files, env, timeout = TIMEOUT_MS }) {
  // Short, because a socket's path has no more than 107 bytes.
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-'));
  try {
    const options = { env: environment({ ...env, CORRAL_TEST_SCRATCH: scratch }), timeout };
    if (files === undefined) return await runGroup(command[0], command.slice(1), options);
    return await runGroup('/bin/sh', ['-c', LIMITED, 'sh', `${files}`, ...command], options);
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

/**
 * Makes a test of each program in a file.
 *
 * @param {string} file in cluster/, without its extension
 * @param {NodeJS.ProcessEnv} [env] for all of them
 */
function programs(file, env = {}) {
  /** @type {Record<string, Program>} */
  const table = require(path.join(TABLES, file));
  for (const [name, program] of Object.entries(table)) {
    const { modes = [''], policies = [''], linux, todo, skip, verify = assertEndedWell } = program;
    const variants = modes.flatMap((mode) => policies.map((policy) => [mode, policy]));
    for (const [mode, policy] of variants) {
      const variant = [mode, policy].filter((word) => word !== '').join(', ');
      const title = variant ? `${name} (${variant})` : name;
      const options = { todo, skip: skip || (linux && process.platform !== 'linux' && 'for Linux') };
      test(title, options, async (context) => {
        const options = { ...program, env: { ...program.env, ...env } };
        const rest = [RUNNER, file, name, mode, policy];
        const { without, silent } = program;
        if (without === undefined && !silent) return verify(await run([process.execPath, ...rest], options));
        const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-node-'));
        try {
          const node = without === undefined ? process.execPath : path.join(directory, 'node');
          if (without !== undefined && !nodeWithout(without, node)) {
            return context.skip('Node and libuv are two files here');
          }
          if (silent) Object.assign(options.env, silentKernel(path.join(directory, 'corral.node')));
          verify(await run([node, ...rest], options));
        } finally {
          fs.rmSync(directory, { recursive: true, force: true });
        }
      });
    }
  }
}

module.exports = { assertEndedWell, environment, programs, run };
