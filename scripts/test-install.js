'use strict';

// The ways of installing corral that take minutes: with each package manager, from a registry, from git.
//
//   npm run test:install
//   npm run test:install -- tarball      one of __test__/install/

const fs = require('node:fs');
const path = require('node:path');
const { root, runOrExit } = require('./run');

const DIRECTORY = '__test__/install';
const ENDING = '.long.js';

/** One test builds corral from its sources, without anything that was built before. */
const TEST_TIMEOUT_MS = 900_000;

async function main() {
  const names = process.argv.slice(2);
  const files = fs
    .readdirSync(path.join(root, DIRECTORY))
    .filter(
      (name) => name.endsWith(ENDING) && (names.length === 0 || names.includes(name.replace(ENDING, ''))),
    )
    .map((name) => path.join(DIRECTORY, name));
  if (files.length === 0) throw new Error(`there is none of these in ${DIRECTORY}: ${names.join(' ')}`);
  // One after the other: each of them keeps both processors busy.
  const options = [
    '--test',
    '--test-reporter=spec',
    `--test-timeout=${TEST_TIMEOUT_MS}`,
    '--test-concurrency=1',
  ];
  await runOrExit(process.execPath, [...options, ...files]);
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
