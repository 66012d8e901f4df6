'use strict';

// Runs the Rust tests, those of the load generator among them, and then the JavaScript tests.
//
//   npm test                              both
//   npm test -- __test__/net/life.test.js   these JavaScript tests only
//   node scripts/test.js --compile          none: the Rust tests are compiled

const fs = require('node:fs');
const path = require('node:path');
const { provide } = require('./provide');
const { answers, root, runOrExit } = require('./run');

/** A test that hangs must not hold up a whole run. This holds for each file, too, of which the slowest takes a tenth on an idle machine. */
const TEST_TIMEOUT_MS = 600_000;

/** Without the binding: its Node-API symbols exist only inside a Node process. */
const FEATURES = '--no-default-features';

/** What bench/mixed.js measures with. */
const LOAD_GENERATOR = path.join(root, 'bench/load/Cargo.toml');

async function main() {
  const named = process.argv.slice(2);
  if (named[0] === '--compile') return testRust('--no-run');
  if (named.length === 0) await testRust();
  provide();
  // Node 20 knows no glob patterns here, and would not descend into directories that are not called "test".
  const files = named.length > 0 ? named : testFiles('__test__');
  // The same reporter with and without a terminal: its summary comes last.
  const options = ['--test', '--test-reporter=spec', `--test-timeout=${TEST_TIMEOUT_MS}`];
  await runOrExit(process.execPath, [...options, ...files]);
}

/** @param {string[]} more words for cargo */
async function testRust(...more) {
  // `cargo nextest` without nextest says "no such command" and ends with 101, as a failing test would: ask first.
  const nextest = answers('cargo', ['nextest', '--version']);
  const run = nextest ? ['nextest', 'run'] : ['test'];
  await runOrExit('cargo', [...run, '--workspace', FEATURES, ...more]);
  // Not a member of the crate's workspace.
  await runOrExit('cargo', [...run, '--manifest-path', LOAD_GENERATOR, ...more]);
}

/**
 * @param {string} directory in the root
 * @returns {string[]}
 */
function testFiles(directory) {
  const entries = fs.readdirSync(path.join(root, directory), { withFileTypes: true });
  return entries
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const file = path.join(directory, entry.name);
      if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : testFiles(file);
      return entry.name.endsWith('.test.js') ? [file] : [];
    });
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
