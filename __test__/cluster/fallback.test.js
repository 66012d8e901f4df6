'use strict';

const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const path = require('node:path');
const { describe, test } = require('node:test');
const { promisify } = require('node:util');

const { programs } = require('../helpers/programs');

const root = path.join(__dirname, '../..');

/**
 * Runs a program to its end.
 *
 * @param {string[]} args of node
 * @param {NodeJS.ProcessEnv} [env] besides ours
 */
function node(args, env) {
  return promisify(execFile)(process.execPath, args, { cwd: root, env: { ...process.env, ...env } });
}

/** @param {string} stderr of a primary and its workers together */
function warnings(stderr) {
  return stderr.split('\n').filter((line) => line.includes('CORRAL_NO_NATIVE'));
}

describe('CORRAL_NATIVE=0', () => {
  test('two workers serve on the built-in, and one warning says so', async () => {
    const program = path.join(__dirname, '../fixtures/two-workers.js');
    const { stdout, stderr } = await node([program], { CORRAL_NATIVE: '0' });
    const seen = JSON.parse(stdout);
    assert.equal(seen.native, false);
    assert.equal(seen.builtin, true);
    assert.deepEqual(seen.answered.toSorted(), seen.workers.toSorted());
    assert.deepEqual(seen.exits, [
      [0, null],
      [0, null],
    ]);
    assert.equal(warnings(stderr).length, 1, stderr);
    assert.match(warnings(stderr)[0], /\[CORRAL_NO_NATIVE\] Warning: .*CORRAL_NATIVE=0 is set/);
  });

  test('the warning has its code, and asking for corral again gives no second one', async () => {
    const program = `
      const seen = [];
      process.on('warning', ({ name, code }) => seen.push({ name, code }));
      const first = require('corral');
      delete require.cache[require.resolve('corral')];
      delete require.cache[require.resolve('./lib/fallback')];
      const second = require('corral');
      setImmediate(() => console.log(JSON.stringify({ seen, same: first === second })));
    `;
    const { stdout } = await node(['-e', program], { CORRAL_NATIVE: '0' });
    assert.deepEqual(JSON.parse(stdout), {
      seen: [{ name: 'Warning', code: 'CORRAL_NO_NATIVE' }],
      same: true,
    });
  });
});

describe("corral's additions on the built-in", { concurrency: 2 }, () => {
  programs('fallback/additions', { CORRAL_NATIVE: '0' });
});

test('a platform without a binary is named', async () => {
  const program = `
    Object.defineProperty(process, 'platform', { value: 'win32' });
    Object.defineProperty(process, 'arch', { value: 'x64' });
    console.log(JSON.stringify(require('./lib/native')));
  `;
  const { stdout } = await node(['-e', program]);
  assert.deepEqual(JSON.parse(stdout), { reason: 'there is no binary for win32-x64' });
});
