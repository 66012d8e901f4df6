'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { ADDONS } = require('./lib-addons');
const { answers, root, run } = require('./run');

/** @typedef {import('./lib-addons').Addon} Addon */

/** @param {Addon} addon @returns {string} what was built from what, by content: a copy changes times, and must cause no build */
function stampOf(addon) {
  return path.join(root, 'target', `${addon.name}.stamp`);
}

/**
 * Builds the addons in release mode: <name>.<platform>.node in the root, and the files that are generated with each.
 * Does nothing for one whose files already are what the sources give.
 *
 * @param {{ force?: boolean }} [options]
 */
async function build({ force = false } = {}) {
  const addons = ADDONS.filter((addon) => force || !isCurrent(addon));
  if (addons.length === 0) return;
  if (!answers('cargo', ['--version'])) {
    console.error('Building corral needs a Rust toolchain; see https://rustup.rs for how to get one.');
    process.exit(127);
  }
  for (const addon of addons) await buildAddon(addon);
}

/** @param {Addon} addon */
async function buildAddon(addon) {
  // Taken before the build: a file that is edited meanwhile makes the next run build again.
  const sources = sourceDigest(addon);
  // Built aside and moved in place: a process that has the old binary mapped keeps it, and nobody loads half of one.
  const output = path.join(root, 'target', `${addon.name}-${process.pid}`);
  fs.mkdirSync(output, { recursive: true });
  const { name, version, napi: settings } = require('../package.json');
  const manifest = path.join(output, 'package.json');
  fs.writeFileSync(
    manifest,
    JSON.stringify({ name, version, napi: { ...settings, binaryName: addon.name } }),
  );
  // biome.json, .ci/run and the file list in package.json know these names as well.
  const types = ['--dts', path.basename(addon.types)];
  const loader = addon.loader === undefined ? ['--no-js'] : ['--js', addon.loader];
  const place = ['--manifest-path', addon.manifest, '--package-json-path', manifest, '--output-dir', output];
  const napi = path.join(root, 'node_modules', '.bin', 'napi');
  const code = await run(napi, ['build', '--platform', '--release', ...place, ...types, ...loader]);
  fs.rmSync(manifest);
  if (code === 0) {
    for (const file of fs.readdirSync(output)) {
      const generated = [addon.types, addon.loader].find((name) => name && path.basename(name) === file);
      fs.renameSync(path.join(output, file), path.join(root, generated ?? file));
    }
    fs.writeFileSync(stampOf(addon), `${sources}\n${digest(outputs(addon))}\n`);
  }
  fs.rmSync(output, { recursive: true, force: true });
  if (code !== 0) process.exit(code);
}

/** @param {Addon} addon @returns {boolean} whether the last build made its files as they are, of the sources as they are */
function isCurrent(addon) {
  if (!fs.existsSync(stampOf(addon))) return false;
  const [sources, made] = fs.readFileSync(stampOf(addon), 'utf8').split('\n');
  return sources === sourceDigest(addon) && made === digest(outputs(addon));
}

/**
 * A digest of all that decides what the build gives, the toolchain's version apart: cargo itself looks after that.
 *
 * @param {Addon} addon
 */
function sourceDigest(addon) {
  const { name, version, napi } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));
  const cli = require('@napi-rs/cli/package.json').version;
  const settings = { name, version, napi, cli, platform: process.platform, arch: process.arch };
  return digest(addon.sources.flatMap(filesUnder), JSON.stringify(settings));
}

/** @param {Addon} addon @returns {string[]} its files in the root: those that are committed, and the binary */
function outputs(addon) {
  const generated = addon.loader === undefined ? [addon.types] : [addon.loader, addon.types];
  return [...generated, ...binaries().filter((file) => file.startsWith(`${addon.name}.`))];
}

/** @returns {string[]} the names of the binaries in the root: <name>.<platform>.node */
function binaries() {
  const names = fs.readdirSync(root).filter((file) => file.endsWith('.node'));
  return names.filter((file) => ADDONS.some(({ name }) => file.startsWith(`${name}.`))).sort();
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

module.exports = { binaries, build };
