'use strict';

// What npm runs around `npm pack` and `npm publish` (prepack and postpack in package.json).
//
// The packed package.json names the per-platform packages under npm/ as optional dependencies; the committed one does
// not. It cannot: `npm ci` fails on a name that is not in the lock file, and a name that the registry does not have yet
// cannot get into it; while a name that we have not published could be published by somebody else and run here.

const fs = require('node:fs');
const path = require('node:path');
const { root } = require('./run');

const manifest = path.join(root, 'package.json');

function prepare() {
  const main = readJson(manifest);
  /** @type {Record<string, string>} */
  const optionalDependencies = {};
  for (const directory of fs.readdirSync(path.join(root, 'npm')).sort()) {
    const { name, version } = readJson(path.join(root, 'npm', directory, 'package.json'));
    // Another version has another binding: loading it would fail later and less clearly.
    if (version !== main.version) {
      throw new Error(`npm/${directory} is version ${version}, corral ${main.version}: run \`napi version\``);
    }
    optionalDependencies[name] = version;
  }
  writeJson(manifest, { ...main, optionalDependencies });
}

function restore() {
  const { optionalDependencies, ...main } = readJson(manifest);
  writeJson(manifest, main);
}

/** @param {string} file */
function readJson(file) {
  return JSON.parse(fs.readFileSync(file, 'utf8'));
}

/**
 * In the format that npm writes and Biome expects, so that writing what was read changes nothing.
 *
 * @param {string} file
 * @param {object} value
 */
function writeJson(file, value) {
  fs.writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`);
}

const action = process.argv[2];
if (action === 'prepare') prepare();
else if (action === 'restore') restore();
else throw new Error('usage: node scripts/pack.js prepare | restore');
