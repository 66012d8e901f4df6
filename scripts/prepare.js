'use strict';

// What npm runs as "prepare": in a clone after `npm ci` and `npm install`, where corral is installed from a git address
// or from a folder, and before it is packed. Builds the binding, if it is not current: `files` in package.json
// takes it along.

const { spawnSync } = require('node:child_process');
const path = require('node:path');
const { root } = require('./run');

function main() {
  // A published package has no binary of its own, and where it is published from, there is no toolchain.
  if (process.env.npm_command === 'publish') return;
  // What the build needs may be there although no npm has installed it (pnpm, yarn); what is in the folder of somebody who
  // links to it may be nothing at all.
  if (canResolve('@napi-rs/cli/package.json')) return require('./build').build();
  const setup = path.join(__dirname, 'setup.js');
  process.exitCode = spawnSync(process.execPath, [setup], { stdio: 'inherit' }).status ?? 1;
}

/** @param {string} name */
function canResolve(name) {
  try {
    require.resolve(name, { paths: [root] });
    return true;
  } catch {
    return false;
  }
}

main();
