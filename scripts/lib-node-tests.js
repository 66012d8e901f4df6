'use strict';

// Node's own tests, from Debian's source package of Node 20.19 (trixie).
//
// They are fetched once. Nothing of them is ever part of this repository.

const fs = require('node:fs');
const path = require('node:path');
const { download, needCommand, run, Unavailable } = require('./lib-debian');

const SUITE = 'trixie';
const WANTED_VERSION = /^20\.19\./;

/** What the tests read; the rest of the source (300 MB) is not unpacked. */
const NEEDED = ['test/async-hooks', 'test/common', 'test/fixtures', 'test/parallel', 'test/sequential'];

/**
 * The directory that has parallel/, sequential/ and what else is needed in it.
 *
 * @param {string} cache where to keep them between runs
 * @returns {string}
 */
function nodeTestsDirectory(cache) {
  const given = process.env.CORRAL_NODE_TESTS;
  if (given) return checkGiven(path.resolve(given));
  const cached = findCached(cache);
  if (cached) return cached;
  return fetchFromDebian(cache);
}

/**
 * @param {string} given a test directory, or a source tree with one
 * @returns {string}
 */
function checkGiven(given) {
  for (const directory of [given, path.join(given, 'test')]) {
    if (isComplete(directory)) return directory;
  }
  const names = NEEDED.map((name) => `${path.basename(name)}/`).join(', ');
  throw new Unavailable(`CORRAL_NODE_TESTS=${given}: neither this nor its test/ has all of ${names}`);
}

/** @param {string} directory a test directory */
function isComplete(directory) {
  return NEEDED.every((name) => fs.existsSync(path.join(directory, path.basename(name))));
}

/**
 * @param {string} cache
 * @returns {string | undefined}
 */
function findCached(cache) {
  if (!fs.existsSync(cache)) return undefined;
  const versions = fs
    .readdirSync(cache)
    // One that an earlier corral fetched may have less than is needed now.
    .filter((name) => WANTED_VERSION.test(name) && isComplete(path.join(cache, name, 'test')))
    .sort();
  const newest = versions.pop();
  return newest && path.join(cache, newest, 'test');
}

/**
 * @param {string} cache
 * @returns {string}
 */
function fetchFromDebian(cache) {
  needCommand('xz', 'the source package is compressed with it (Debian: xz-utils)');
  const what = ['--download-only', '--tar-only', 'source', 'nodejs'];
  return download({ type: 'deb-src', suite: SUITE, what }, (work) => unpack(work, cache));
}

/**
 * @param {string} work where the archive is
 * @param {string} cache
 * @returns {string}
 */
function unpack(work, cache) {
  const archive = fs.readdirSync(work).find((name) => /^nodejs_.*\.orig\.tar\.xz$/.test(name));
  if (!archive) throw new Unavailable('apt-get downloaded no nodejs_*.orig.tar.xz');
  const version = archive.slice('nodejs_'.length, -'.orig.tar.xz'.length);
  if (!WANTED_VERSION.test(version)) throw new Unavailable(`${SUITE} has Node ${version} now, not 20.19`);
  // Unpacked beside its place and then renamed: an interrupted run never looks like a complete one.
  const final = path.join(cache, version);
  fs.mkdirSync(cache, { recursive: true });
  const partial = fs.mkdtempSync(path.join(cache, 'partial-'));
  try {
    // The star is the archive's one top directory; it must not reach into deps/*/test.
    const wanted = NEEDED.map((name) => `*/${name}`);
    const how = ['--strip-components=1', '--no-same-owner', '--wildcards', '--no-wildcards-match-slash'];
    run('tar', ['-xJf', path.join(work, archive), '-C', partial, ...how, ...wanted], 'unpacking');
    for (const name of NEEDED) {
      if (!fs.existsSync(path.join(partial, name))) throw new Unavailable(`${archive} has no ${name}`);
    }
    fs.chmodSync(partial, 0o755);
    if (!isComplete(path.join(final, 'test'))) fs.rmSync(final, { recursive: true, force: true });
    try {
      fs.renameSync(partial, final);
    } catch (error) {
      // Another run was faster; what it put there is the same.
      if (!fs.existsSync(final)) throw error;
    }
  } finally {
    fs.rmSync(partial, { recursive: true, force: true });
  }
  return path.join(final, 'test');
}

module.exports = { nodeTestsDirectory, Unavailable };
