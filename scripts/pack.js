'use strict';

// A tarball of corral that carries the binary of this machine's platform: for installing it without a registry.
//
//   npm run pack                  corral-<version>-<platform>.tgz, here
//   npm run pack -- DIRECTORY     there; the directory is made if it is not there
//
// Prints the path of the tarball as its last line. docs/deploying.md says what to do with it.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { binaries, build } = require('./build');
const { root } = require('./run');

async function main() {
  const [directory = '.', ...rest] = process.argv.slice(2);
  if (rest.length > 0 || directory.startsWith('-')) throw new Error('usage: npm run pack [-- DIRECTORY]');
  // npm runs this in the root, whatever directory it was called in.
  const destination = path.resolve(process.env.INIT_CWD ?? process.cwd(), directory);
  fs.mkdirSync(destination, { recursive: true });
  await build();
  // Its own name is the same on every platform: a lock file would take one for another that was changed.
  const packed = pack(destination);
  const named = path.join(destination, packed.replace(/\.tgz$/, `-${platforms()}.tgz`));
  fs.renameSync(path.join(destination, packed), named);
  console.log(named);
}

/**
 * @param {string} destination
 * @returns {string} the name that npm gave the file
 */
function pack(destination) {
  // Without scripts: what they would build has just been built.
  const args = ['pack', '--ignore-scripts', '--json', '--pack-destination', destination];
  const { status, stdout, error } = spawnSync('npm', args, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (error) throw error;
  if (status !== 0) throw new Error(`npm ${args.join(' ')} ended with ${status}`);
  const [{ filename }] = Object.values(JSON.parse(stdout));
  return filename;
}

/** Those whose binaries lie in the root: as a rule this machine's alone. */
function platforms() {
  return [...new Set(binaries().map((name) => name.split('.')[1]))].join('+');
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
