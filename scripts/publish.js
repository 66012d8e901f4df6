'use strict';

// What npm runs around `npm publish` (prepublishOnly and postpublish in package.json).
//
// A published package has its binaries in packages of their own, one for each platform, under npm/: the published
// package.json names them as optional dependencies and has no binary in its files. The committed one has it the
// other way round, so that what is packed, copied or fetched from git needs nothing that is not published: `npm ci`
// fails on an optional dependency that is not in the lock file, and a name that the registry does not have cannot get
// into it; while a name that we have not published could be published by somebody else, and run here.

const fs = require('node:fs');
const path = require('node:path');
const { root } = require('./run');

const manifest = path.join(root, 'package.json');

/** The binaries of all addons in the root, as `files` in package.json has them. */
const BINARIES = 'corral*.node';

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
  const files = main.files.filter((/** @type {string} */ name) => name !== BINARIES);
  writeJson(manifest, { ...main, files, optionalDependencies });
}

function restore() {
  const { optionalDependencies, ...main } = readJson(manifest);
  if (!main.files.includes(BINARIES)) main.files.push(BINARIES);
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
else throw new Error('usage: node scripts/publish.js prepare | restore');
