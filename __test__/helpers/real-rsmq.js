'use strict';

// The npm package rsmq itself, for the tests that share queues with it, in a directory outside the project. Nothing is
// installed but what has these hashes, and no script of a package runs.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const CACHE = path.join(__dirname, '../../.cache/rsmq');

/** Its version, its integrity and its dependencies. @type {Record<string, [string, string, Record<string, string>?]>} */
const PACKAGES = {
  denque: [
    '1.5.1',
    'sha512-XwE+iZ4D6ZUB7mfYRMb5wByE8L74HCn30FBN7sWnXksWc1LO1bPDl67pBR9o/kC4z/xSNAwkMYcGgqDV3BE3Hw==',
  ],
  lodash: [
    '4.18.1',
    'sha512-dMInicTPVE8d1e5otfwmmjlxkZoUpiVLwyeTdUsi/Caj/gfzzblBcCE5sRHV/AsjuCmxWrte2TNGSYuCeCq+0Q==',
  ],
  redis: [
    '3.1.2',
    'sha512-grn5KoZLr/qrRQVwoSkmzdbw6pwF+/rwODtrOr6vuBRiR/f3rjSTGupbF90Zpqm2oenix8Do6RV7pYEkGwlKkw==',
    { denque: '^1.5.0', 'redis-commands': '^1.7.0', 'redis-errors': '^1.2.0', 'redis-parser': '^3.0.0' },
  ],
  'redis-commands': [
    '1.7.0',
    'sha512-nJWqw3bTFy21hX/CPKHth6sfhZbdiHP6bTawSgQBlKOVRG7EZkfHbbHwQJnrE4vsQf0CMNE+3gJ4Fmm16vdVlQ==',
  ],
  'redis-errors': [
    '1.2.0',
    'sha512-1qny3OExCf0UvUV/5wpYKf2YwPcOqXzkwKKSmKHiE6ZMQs5heeE/c8eXK+PNllPvmjgAbfnsbpkGZWy8cBpn9w==',
  ],
  'redis-parser': [
    '3.0.0',
    'sha512-DJnGAeenTdpMEH6uAJRK/uiyEIH9WVsUmoLwzudwGJUwZPp80PDBWPHXSAGNPwNvIXAbe7MSUB1zQFugFml66A==',
    { 'redis-errors': '^1.0.0' },
  ],
  rsmq: [
    '0.12.4',
    'sha512-xXs0MudraTG0ndRUo8QIG6/G0/xcPFag/kxbfZZ9Xuz7hTeaQLJKaZH5y0B4fcpLkWBXjC8A9ynIHula65bGBQ==',
    { lodash: '^4.17.21', redis: '^3.1.2' },
  ],
};

/** @returns {string} a directory with it, to be removed afterwards */
function install() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-rsmq-'));
  const entries = Object.entries(PACKAGES).map(([name, [version, integrity, dependencies]]) => {
    const resolved = `https://registry.npmjs.org/${name}/-/${path.basename(name)}-${version}.tgz`;
    return [`node_modules/${name}`, { version, resolved, integrity, dependencies }];
  });
  const dependencies = { rsmq: PACKAGES.rsmq[0] };
  const packages = { '': { dependencies }, ...Object.fromEntries(entries) };
  fs.writeFileSync(path.join(directory, 'package.json'), JSON.stringify({ private: true, dependencies }));
  const lock = { name: 'interop', lockfileVersion: 3, packages };
  fs.writeFileSync(path.join(directory, 'package-lock.json'), JSON.stringify(lock));
  fs.mkdirSync(CACHE, { recursive: true });
  const own = Object.entries(process.env).filter(
    ([name]) => !/^(npm_(?!config_registry$)|NODE_(OPTIONS|TEST_))/i.test(name),
  );
  // What has been fetched once is taken from the cache.
  const options = ['--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', '--cache', CACHE];
  const result = spawnSync('npm', ['ci', ...options], {
    cwd: directory,
    env: Object.fromEntries(own),
    encoding: 'utf8',
  });
  if (result.status === 0) return directory;
  fs.rmSync(directory, { recursive: true });
  throw new Error(`rsmq 0.12.4 cannot be installed, which these tests need\n${result.stderr}`);
}

module.exports = { install };
