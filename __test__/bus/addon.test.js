'use strict';

// The addon of the bus is there, and only who asks for the bus loads it.

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { environment } = require('../helpers/programs');

const root = path.join(__dirname, '../..');
const BINARY = fs.readdirSync(root).find((name) => /^corral-bus\..+\.node$/.test(name)) ?? '';
assert.notEqual(BINARY, '', 'this test needs the binary that `npm run build` makes');

/** @param {string} program @param {string} [cwd] @param {NodeJS.ProcessEnv} [env] */
function evaluate(program, cwd = root, env = undefined) {
  const options = { cwd, encoding: /** @type {const} */ ('utf8'), env: environment(env) };
  return JSON.parse(execFileSync(process.execPath, ['-p', `JSON.stringify(${program})`], options));
}

/** @param {import('node:test').TestContext} t @returns {string} a corral without its binaries */
function copyOfCorral(t) {
  const copy = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'corral-copy-')));
  t.after(() => fs.rmSync(copy, { recursive: true }));
  for (const name of ['package.json', 'lib']) {
    fs.cpSync(path.join(root, name), path.join(copy, name), { recursive: true });
  }
  return copy;
}

test('the binary is of the version that the package is', () => {
  const { version } = require('../../package.json');
  assert.equal(evaluate("require('./lib/bus/native').native.version()"), version);
});

test('who requires corral, corral/net or corral/node-ipc does not load it', () => {
  const program =
    "[require('./index'), require('./net'), require('./node-ipc')] && process.report.getReport().sharedObjects";
  const loaded = evaluate(program).map((/** @type {string} */ file) => path.basename(file));
  assert.ok(
    loaded.some((/** @type {string} */ file) => /^corral\..+\.node$/.test(file)),
    'the core is seen',
  );
  assert.ok(!loaded.includes(BINARY));
});

test('without its binary the reason says so, and what to do', (t) => {
  const copy = copyOfCorral(t);
  const platform = BINARY.split('.')[1];
  const program = "require('./lib/bus/native').reason";
  assert.match(evaluate(program, copy), new RegExp(`packed without its binary for ${platform}`));
  fs.writeFileSync(path.join(copy, BINARY), 'not a shared library');
  assert.match(evaluate(program, copy), /cannot be loaded: .*corral-bus\./);
  assert.equal(evaluate(program, copy, { CORRAL_NATIVE: '0' }), 'CORRAL_NATIVE=0 is set');
});

test('a binary of another version is not used', (t) => {
  const copy = copyOfCorral(t);
  fs.copyFileSync(path.join(root, BINARY), path.join(copy, BINARY));
  const manifest = { ...require('../../package.json'), version: '999.0.0' };
  fs.writeFileSync(path.join(copy, 'package.json'), JSON.stringify(manifest));
  assert.match(
    evaluate("require('./lib/bus/native').reason", copy),
    /is version .*, and this is corral 999\.0\.0$/,
  );
});
