'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { answers, root, run } = require('./run');

/** The sources of the build; a directory counts with all its files. */
const SOURCES = ['Cargo.toml', 'Cargo.lock', 'build.rs', 'rust-toolchain.toml', '.cargo', 'src'];

/** What was built from what, by content: a checkout or a copy changes times, and must not cause a build. */
const STAMP = path.join(root, 'target', 'binding.stamp');

/**
 * Builds the native binding in release mode: corral.<platform>.node, binding.js and binding.d.ts in the root.
 * Does nothing when they already are what the sources give.
 *
 * @param {{ force?: boolean }} [options]
 */
async function build({ force = false } = {}) {
  if (!force && isCurrent()) return;
  if (!answers('cargo', ['--version'])) {
    console.error('Building corral needs a Rust toolchain; see https://rustup.rs for how to get one.');
    process.exit(127);
  }
  // Taken before the build: a file that is edited meanwhile makes the next run build again.
  const sources = sourceDigest();
  // Built aside and moved in place: a process that has the old binary mapped keeps it, and nobody loads half of one.
  const output = path.join(root, 'target', `binding-${process.pid}`);
  fs.mkdirSync(output, { recursive: true });
  // biome.json, .ci/run and the file list in package.json know these names as well.
  const names = ['--js', 'binding.js', '--dts', 'binding.d.ts'];
  const napi = path.join(root, 'node_modules', '.bin', 'napi');
  const code = await run(napi, ['build', '--platform', '--release', '--output-dir', output, ...names]);
  if (code === 0) {
    for (const file of fs.readdirSync(output)) fs.renameSync(path.join(output, file), path.join(root, file));
    fs.writeFileSync(STAMP, `${sources}\n${digest(outputs())}\n`);
  }
  fs.rmSync(output, { recursive: true, force: true });
  if (code !== 0) process.exit(code);
}

/** Whether the files in the root are those that the last build made, and the sources those that it used. */
function isCurrent() {
  if (!fs.existsSync(STAMP)) return false;
  const [sources, made] = fs.readFileSync(STAMP, 'utf8').split('\n');
  return sources === sourceDigest() && made === digest(outputs());
}

/** A digest of all that decides what the build gives, the toolchain's version apart: cargo itself looks after that. */
function sourceDigest() {
  const { name, version, napi } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));
  const cli = require('@napi-rs/cli/package.json').version;
  const settings = { name, version, napi, cli, platform: process.platform, arch: process.arch };
  return digest(SOURCES.flatMap(filesUnder), JSON.stringify(settings));
}

/** The binding's files in the root: two that are committed, and the binary. */
function outputs() {
  const binaries = fs
    .readdirSync(root)
    .filter((name) => name.startsWith('corral.') && name.endsWith('.node'));
  return ['binding.js', 'binding.d.ts', ...binaries.sort()];
}

/**
 * @param {string} name of a file or directory in the root
 * @returns {string[]} the file, or the files under the directory, in a fixed order; none if it does not exist
 */
function filesUnder(name) {
  const stat = fs.statSync(path.join(root, name), { throwIfNoEntry: false });
  if (stat === undefined) return [];
  if (!stat.isDirectory()) return [name];
  const entries = fs.readdirSync(path.join(root, name)).sort();
  return entries.flatMap((entry) => filesUnder(path.join(name, entry)));
}

/**
 * @param {readonly string[]} files
 * @param {string} [more]
 */
function digest(files, more = '') {
  const hash = crypto.createHash('sha256').update(more);
  for (const file of files) hash.update(`\0${file}\0${contentHash(file)}`);
  return hash.digest('hex');
}

/** @param {string} file */
function contentHash(file) {
  const full = path.join(root, file);
  return fs.existsSync(full) ? crypto.createHash('sha256').update(fs.readFileSync(full)).digest('hex') : '';
}

module.exports = { build };
