'use strict';

const { spawn, spawnSync } = require('node:child_process');
const path = require('node:path');

const root = path.dirname(__dirname);

/** Signals that ask for an end. */
const FORWARDED = /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']);

/**
 * Runs a program in the root of the checkout, with this process's stdio, and waits for it. While it runs, a request
 * to end is its business: we pass the signal on and end after it, so that no program is left behind without us.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Promise<number>} its exit code, 127 if there is no such program, 128 + n if signal n ended it
 */
function run(command, args, env = process.env) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: 'inherit', env });
    /** @param {NodeJS.Signals} signal */
    const forward = (signal) => child.kill(signal);
    const release = () => {
      for (const signal of FORWARDED) process.off(signal, forward);
    };
    for (const signal of FORWARDED) process.on(signal, forward);
    child.once('error', (error) => {
      release();
      if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT') resolve(127);
      else reject(error);
    });
    child.once('exit', (code, signal) => {
      release();
      resolve(code ?? 128 + (signal ? signalNumber(signal) : 0));
    });
  });
}

/**
 * Like {@link run}, but ends this process with the same exit code when the program fails.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {NodeJS.ProcessEnv} [env]
 */
async function runOrExit(command, args, env) {
  const code = await run(command, args, env);
  if (code === 127) console.error(`${command}: no such program`);
  if (code !== 0) process.exit(code);
}

/**
 * Whether a program is there and ends well; for asking for a version.
 *
 * @param {string} command
 * @param {readonly string[]} args
 */
function answers(command, args) {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0;
}

/** @param {NodeJS.Signals} signal */
function signalNumber(signal) {
  return require('node:os').constants.signals[signal];
}

module.exports = { answers, root, run, runOrExit };
