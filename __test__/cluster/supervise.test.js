'use strict';

// `cluster.supervise`.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const { describe, test } = require('node:test');

const { environment, programs } = require('../helpers/programs');
const { ask } = require('../helpers/supervise');

describe('a supervisor reloads', { concurrency: 2 }, () => programs('supervise/reloads'));
describe('a supervisor keeps workers', { concurrency: 2 }, () => programs('supervise/lives'));
describe('a supervisor cannot start workers', { concurrency: 2 }, () => programs('supervise/starts'));
describe("a supervisor reloads on Node's own cluster", { concurrency: 2 }, () =>
  programs('supervise/fallback', { CORRAL_NATIVE: '0' }),
);

/**
 * A primary in a process group of its own.
 *
 * @param {import('node:test').TestContext} t
 */
async function supervised(t) {
  const primary = spawn(process.execPath, [require.resolve('../fixtures/supervised.js')], {
    env: environment({}),
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  });
  t.after(() => primary.kill('SIGKILL'));
  const { stdout } = primary;
  let output = '';
  stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  const exit = once(primary, 'exit');
  const lines = () => output.split('\n').filter((line) => line !== '');
  /** @param {RegExp} pattern @param {number} [count] */
  const hasSaid = async (pattern, count = 1) => {
    while (lines().filter((line) => pattern.test(line)).length < count) await once(stdout, 'data');
  };
  await hasSaid(/^ready$/);
  const port = Number(/^port (\d+)$/m.exec(output)?.[1]);
  return { primary, port, hasSaid, lines, exit };
}

for (const signal of /** @type {const} */ (['SIGTERM', 'SIGINT'])) {
  for (const [whom, isGroup] of /** @type {const} */ ([
    ['the primary', false],
    ['the whole group', true],
  ])) {
    test(`${signal} for ${whom} has requests answered, and the process ends with 0`, async (t) => {
      const { primary, port, hasSaid, exit } = await supervised(t);
      const answer = ask(port, '/slow');
      await hasSaid(/^asked \/slow$/);
      process.kill(isGroup ? -Number(primary.pid) : Number(primary.pid), signal);
      assert.equal(await answer, 'slow');
      assert.deepEqual(await exit, [0, null]);
      await hasSaid(/^stopped$/);
    });
  }
}

test('a second SIGTERM ends everything at once', async (t) => {
  const { primary, port, hasSaid, exit } = await supervised(t);
  const answer = ask(port, '/never').catch(({ code }) => code);
  await hasSaid(/^asked \/never$/);
  primary.kill('SIGTERM');
  await hasSaid(/^\d draining$/, 2);
  primary.kill('SIGTERM');
  assert.equal(await answer, 'ECONNRESET');
  assert.deepEqual(await exit, [0, null]);
});

test('SIGHUP for the whole group reloads, too', async (t) => {
  const { primary, port, hasSaid, exit } = await supervised(t);
  const answer = ask(port, '/slow');
  await hasSaid(/^asked \/slow$/);
  process.kill(-Number(primary.pid), 'SIGHUP');
  assert.equal(await answer, 'slow');
  await hasSaid(/^reloaded$/);
  primary.kill('SIGTERM');
  assert.deepEqual(await exit, [0, null]);
});

test('SIGHUP reloads, SIGTTIN and SIGTTOU change the number of workers', async (t) => {
  const { primary, hasSaid, lines, exit } = await supervised(t);
  primary.kill('SIGHUP');
  await hasSaid(/^reloaded$/);
  assert.equal(lines().filter((line) => line.endsWith(' ready')).length, 4);
  primary.kill('SIGTTIN');
  await hasSaid(/^2 ready$/);
  primary.kill('SIGTTOU');
  await hasSaid(/^2 gone$/);
  primary.kill('SIGTERM');
  assert.deepEqual(await exit, [0, null]);
});
