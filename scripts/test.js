'use strict';

// Runs the Rust tests and then the JavaScript tests.
//
//   npm test                              both
//   npm test -- __test__/net/life.test.js   these JavaScript tests only

const fs = require('node:fs');
const path = require('node:path');
const { answers, root, runOrExit } = require('./run');

/** A test that hangs must not hold up a whole run; the slowest of ours takes a tenth of this. */
const TEST_TIMEOUT_MS = 180_000;

/** Without the binding: its Node-API symbols exist only inside a Node process. */
const FEATURES = '--no-default-features';

async function main() {
  const named = process.argv.slice(2);
  if (named.length === 0) await testRust();
  // Node 20 knows no glob patterns here, and would not descend into directories that are not called "test".
  const files = named.length > 0 ? named : testFiles('__test__');
  // The same reporter with and without a terminal: its summary comes last.
  const options = ['--test', '--test-reporter=spec', `--test-timeout=${TEST_TIMEOUT_MS}`];
  await runOrExit(process.execPath, [...options, ...files]);
}

async function testRust() {
  // `cargo nextest` without nextest says "no such command" and ends with 101, as a failing test would: ask first.
  const nextest = answers('cargo', ['nextest', '--version']);
  await runOrExit('cargo', nextest ? ['nextest', 'run', FEATURES] : ['test', FEATURES]);
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
