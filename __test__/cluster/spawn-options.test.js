'use strict';

// Settings that the built-in cluster does not pass on to the process, and corral does.

const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const path = require('node:path');
const { test } = require('node:test');
const { promisify } = require('node:util');

const run = promisify(execFile);
const corral = JSON.stringify(path.join(__dirname, '../..'));

/** @param {string} primary what the primary does with `cluster`; its workers wait for messages */
async function output(primary) {
  const program = `
    const cluster = require(${corral});
    cluster.setupPrimary({ exec: '-', args: [], execArgv: ['-e', 'process.on("message", () => {})'] });
    ${primary}
  `;
  const { stdout } = await run(process.execPath, ['-e', program], { timeout: 120_000 });
  return stdout;
}

test('an AbortSignal kills the workers that were forked with it', async () => {
  const stdout = await output(`
    const controller = new AbortController();
    cluster.setupPrimary({ signal: controller.signal, killSignal: 'SIGUSR2' });
    const worker = cluster.fork();
    worker.on('error', (error) => console.log(error.code));
    worker.on('exit', (code, signal) => console.log(code, signal));
    worker.on('online', () => controller.abort());
  `);
  assert.equal(stdout, 'ABORT_ERR\nnull SIGUSR2\n');
});

test('a detached worker leads a process group of its own', async () => {
  const stdout = await output(`
    cluster.setupPrimary({ detached: true });
    const worker = cluster.fork();
    worker.on('exit', (code, signal) => console.log(signal));
    worker.on('online', () => process.kill(-worker.process.pid, 'SIGKILL'));
  `);
  assert.equal(stdout, 'SIGKILL\n');
});
