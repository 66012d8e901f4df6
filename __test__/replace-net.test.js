'use strict';

// scripts/replace-net.js, which Node's own tests of net run with: were it without effect, they would pass as well.

const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { promisify } = require('node:util');

const root = path.dirname(__dirname);
const PRELOAD = ['--require', path.join(root, 'scripts/replace-net.js')];

const PROGRAM = `
  const ours = require(${JSON.stringify(path.join(root, 'net.js'))});
  ours.connect = null;
  console.log(require('net') === ours, typeof new (require('http').Agent)().createConnection);
`;

/** @param {...string} args */
async function run(...args) {
  const { stdout } = await promisify(execFile)(process.execPath, [...PRELOAD, ...args], { timeout: 120_000 });
  return stdout;
}

test('net is replaced for a program, and not for Node itself', async () => {
  assert.equal(await run('-e', PROGRAM), 'true function\n');
});

test('net is replaced in a file, by both of its names', async (t) => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-'));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  const file = path.join(directory, 'program.js');
  for (const name of ['net', 'node:net']) {
    fs.writeFileSync(file, PROGRAM.replace("require('net')", `require('${name}')`));
    assert.equal(await run(file), 'true function\n');
  }
});

test('an ES module is refused: it would get the built-in', async () => {
  await assert.rejects(run(path.join(root, 'index.mjs')), /index\.mjs is an ES module/);
});
