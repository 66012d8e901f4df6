'use strict';

// Node's own tests, from Debian's source package of Node 20.19 (trixie).
//
// They are fetched once, by apt into a directory of its own, so that neither root nor a change to the machine's
// configuration is needed and apt checks signature and hash. Nothing of them is ever part of this repository.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { spawnSync } = require('node:child_process');

const SUITE = 'trixie';
const MIRROR = 'http://deb.debian.org/debian';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const WANTED_VERSION = /^20\.19\./;

/** What the tests read; the rest of the source (300 MB) is not unpacked. */
const NEEDED = ['test/async-hooks', 'test/common', 'test/fixtures', 'test/parallel', 'test/sequential'];

/** Says why the tests cannot be had; the message is for the person who ran the script. */
class Unavailable extends Error {}

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
 * @param {string} command
 * @param {string[]} args
 * @param {string} purpose for the message when it fails
 * @param {string} [cwd]
 * @returns {string} its standard output
 */
function run(command, args, purpose, cwd) {
  const env = { ...process.env, LC_ALL: 'C' };
  const result = spawnSync(command, args, { cwd, env, encoding: 'utf8', maxBuffer: 1 << 26 });
  if (result.error) throw new Unavailable(`${purpose}: cannot run ${command} (${result.error.message})`);
  if (result.status !== 0) {
    const reason = (result.stderr || result.stdout).trim().split('\n').slice(-5).join('\n  ');
    throw new Unavailable(`${purpose}: ${command} failed\n  ${reason}`);
  }
  return result.stdout;
}

/**
 * @param {string} command
 * @param {string} why
 */
function needCommand(command, why) {
  if (spawnSync(command, ['--version'], { stdio: 'ignore' }).error) {
    throw new Unavailable(`'${command}' is not here; ${why}`);
  }
}

/**
 * @param {string} cache
 * @returns {string}
 */
function fetchFromDebian(cache) {
  needCommand('apt-get', "the tests come from Debian's archive by apt-get");
  needCommand('tar', 'the source package is a tar archive');
  needCommand('xz', 'the source package is compressed with it (Debian: xz-utils)');
  if (!fs.existsSync(KEYRING)) {
    throw new Unavailable(
      `${KEYRING} is not here; apt checks Debian's signature with it (debian-archive-keyring)`,
    );
  }
  const work = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-apt-'));
  try {
    const options = aptOptions(work);
    console.log(`getting Node's source package from ${MIRROR} (${SUITE}) ...`);
    run('apt-get', [...options, 'update'], 'reading the list of source packages');
    run('apt-get', [...options, '--download-only', '--tar-only', 'source', 'nodejs'], 'downloading', work);
    return unpack(work, cache);
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
}

/**
 * An apt of its own: its lists and cache are under `work`, the machine's sources are not read; its proxy settings are.
 *
 * @param {string} work
 * @returns {string[]}
 */
function aptOptions(work) {
  for (const name of ['state/lists/partial', 'cache/archives/partial', 'parts']) {
    fs.mkdirSync(path.join(work, name), { recursive: true });
  }
  fs.writeFileSync(path.join(work, 'status'), '');
  fs.writeFileSync(
    path.join(work, 'sources.list'),
    `deb-src [signed-by=${KEYRING}] ${MIRROR} ${SUITE} main\n`,
  );
  const settings = {
    'Dir::Etc::sourcelist': path.join(work, 'sources.list'),
    'Dir::Etc::sourceparts': path.join(work, 'parts'),
    'Dir::State': path.join(work, 'state'),
    'Dir::State::status': path.join(work, 'status'),
    'Dir::Cache': path.join(work, 'cache'),
    // As root apt would drop to a user that may not write here.
    'APT::Sandbox::User': '',
    'Acquire::Languages': 'none',
    'Acquire::Retries': '3',
  };
  return ['-q', ...Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])];
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
