'use strict';

// Packages of Debian's that a script or a test needs. They are fetched by apt into a directory of its own, so that neither root
// nor a change to the machine's configuration is needed, and apt checks signature and hash.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { spawnSync } = require('node:child_process');

const MIRROR = 'http://deb.debian.org/debian';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** Before each further attempt to fetch something: a mirror that is being updated, or a name that is not found, is seldom so for longer. */
const PAUSES_S = [5, 15, 45];

/** Says why something cannot be had; the message is for the person who ran the script. */
class Unavailable extends Error {}

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
 * Downloads from Debian's archive.
 *
 * @template T
 * @param {{ type: 'deb' | 'deb-src', suite: string, what: string[] }} package the words behind apt-get's options
 * @param {(work: string) => T} use what is done with the directory that has it; it is removed afterwards
 * @returns {T}
 */
function download({ type, suite, what }, use) {
  needCommand('apt-get', "this comes from Debian's archive by apt-get");
  needCommand('tar', 'a package is a tar archive');
  if (!fs.existsSync(KEYRING)) {
    throw new Unavailable(
      `${KEYRING} is not here; apt checks Debian's signature with it (debian-archive-keyring)`,
    );
  }
  const work = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-apt-'));
  try {
    const options = aptOptions(work, `${type} [signed-by=${KEYRING}] ${MIRROR} ${suite} main\n`);
    console.log(`getting ${what.at(-1)} from ${MIRROR} (${suite}) ...`);
    persistently(() => {
      run('apt-get', [...options, 'update'], 'reading the list of packages');
      run('apt-get', [...options, ...what], 'downloading', work);
    });
    return use(work);
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
}

/**
 * Does something that may fail for a while; throws what it has thrown the last time.
 *
 * @param {() => void} action
 */
function persistently(action) {
  for (const pause of PAUSES_S) {
    try {
      return action();
    } catch (error) {
      console.error(`${/** @type {Error} */ (error).message}\n  once more in ${pause} s ...`);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pause * 1000);
    }
  }
  return action();
}

/**
 * An apt of its own: its lists and cache are under `work`, the machine's sources are not read; its proxy settings are.
 *
 * @param {string} work
 * @param {string} source
 * @returns {string[]}
 */
function aptOptions(work, source) {
  for (const name of ['state/lists/partial', 'cache/archives/partial', 'parts']) {
    fs.mkdirSync(path.join(work, name), { recursive: true });
  }
  fs.writeFileSync(path.join(work, 'status'), '');
  fs.writeFileSync(path.join(work, 'sources.list'), source);
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

module.exports = { download, needCommand, run, Unavailable };
