'use strict';

// The npm package node-ipc itself, for the tests that talk to it, in a directory outside the project.
//
// It is 9.2.1, which is clean and which the world has pinned; 9.2.2, 10.1.1 and later ones are not. Nothing is
// installed but what has these hashes, and no script of a package runs.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const CACHE = path.join(__dirname, '../../.cache/node-ipc');

/** Its version, its integrity and its dependencies. @type {Record<string, [string, string, Record<string, string>?]>} */
const PACKAGES = {
  'node-ipc': [
    '9.2.1',
    'sha512-mJzaM6O3xHf9VT8BULvJSbdVbmHUKRNOH7zDDkCrA1/T+CVjq2WVIDfLt0azZRXpgArJtl3rtmEozrbXPZ9GaQ==',
    { 'event-pubsub': '4.3.0', 'js-message': '1.0.7', 'js-queue': '2.0.2' },
  ],
  'event-pubsub': [
    '4.3.0',
    'sha512-z7IyloorXvKbFx9Bpie2+vMJKKx1fH1EN5yiTfp8CiLOTptSYy1g8H4yDpGlEdshL1PBiFtBHepF2cNsqeEeFQ==',
  ],
  'js-message': [
    '1.0.7',
    'sha512-efJLHhLjIyKRewNS9EGZ4UpI8NguuL6fKkhRxVuMmrGV2xN/0APGdQYwLFky5w9naebSZ0OwAGp0G6/2Cg90rA==',
  ],
  'js-queue': [
    '2.0.2',
    'sha512-pbKLsbCfi7kriM3s1J4DDCo7jQkI58zPLHi0heXPzPlj0hjUsm+FesPUbE0DSbIVIK503A36aUBoCN7eMFedkA==',
    { 'easy-stack': '^1.0.1' },
  ],
  'easy-stack': [
    '1.0.1',
    'sha512-wK2sCs4feiiJeFXn3zvY0p41mdU5VUgbgs1rNsc/y5ngFUijdWd+iIN8eoyuZHKB8xN6BL4PdWmzqFmxNg6V2w==',
  ],
};

/** What npm says when there is no registry, or none that answers. */
const UNREACHABLE =
  /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED|E5\d\d|EPROTO)\b/;

/** What `npm ci` installs: exactly the above. */
function lockFile() {
  const entries = Object.entries(PACKAGES).map(([name, [version, integrity, dependencies]]) => {
    const resolved = `https://registry.npmjs.org/${name}/-/${name}-${version}.tgz`;
    return [`node_modules/${name}`, { version, resolved, integrity, dependencies }];
  });
  const root = { dependencies: { 'node-ipc': PACKAGES['node-ipc'][0] } };
  return { name: 'interop', lockfileVersion: 3, packages: { '': root, ...Object.fromEntries(entries) } };
}

/**
 * Installs it.
 *
 * @returns {{ directory: string } | { unreachable: string }} directory: to be removed afterwards
 */
function install() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-node-ipc-'));
  const lock = lockFile();
  const manifest = { private: true, ...lock.packages[''] };
  fs.writeFileSync(path.join(directory, 'package.json'), JSON.stringify(manifest));
  fs.writeFileSync(path.join(directory, 'package-lock.json'), JSON.stringify(lock));
  fs.mkdirSync(CACHE, { recursive: true });
  const own = Object.entries(process.env).filter(
    ([name]) => !/^(npm_(?!config_registry$)|NODE_(OPTIONS|TEST_))/i.test(name),
  );
  // What has been fetched once is taken from the cache.
  const options = ['--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', '--cache', CACHE];
  const result = spawnSync('npm', ['ci', ...options, '--fetch-retries', '1'], {
    cwd: directory,
    env: Object.fromEntries(own),
    encoding: 'utf8',
  });
  if (result.status === 0) return { directory };
  fs.rmSync(directory, { recursive: true });
  const why = result.error?.message ?? result.stderr;
  const code = UNREACHABLE.exec(why);
  if (code === null) throw new Error(`node-ipc could not be installed\n${why}`);
  return { unreachable: `node-ipc 9.2.1 cannot be fetched: the registry cannot be reached (${code[0]})` };
}

module.exports = { install };
