'use strict';

// Makes a checkout ready to run: installs what package-lock.json names, then builds the binding; each only when
// it is not current. Node's own modules only: this runs before node_modules exists.
//
//   node scripts/setup.js [--no-build | --force-build]

const fs = require('node:fs');
const path = require('node:path');
const { build } = require('./build');
const { root, runOrExit } = require('./run');

/** npm writes node_modules/.package-lock.json when it has installed everything: its age is the installation's. */
function isInstalled() {
  const installed = modifiedAt('node_modules/.package-lock.json');
  return installed !== undefined && installed >= (modifiedAt('package-lock.json') ?? 0);
}

/** @param {string} file */
function modifiedAt(file) {
  return fs.statSync(path.join(root, file), { throwIfNoEntry: false })?.mtimeMs;
}

async function main() {
  // Our own Node versions are the only ones that the tools have to run on, so npm's warnings about engines say nothing.
  // Its scripts would be ours, "prepare", which builds: whether to do that is to be said here. No dependency needs any.
  const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  if (!isInstalled()) await runOrExit('npm', ['ci', ...options]);
  if (!process.argv.includes('--no-build')) await build({ force: process.argv.includes('--force-build') });
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
