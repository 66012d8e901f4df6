'use strict';

// A redis-server for the tests of corral/bus: the machine's, or Debian's package, unpacked under .cache without root.

const fs = require('node:fs');
const path = require('node:path');
const { spawnSync } = require('node:child_process');
const { download, run } = require('./lib-debian');
const { root } = require('./run');

const SUITE = 'bookworm';
const UNPACKED = path.join(root, '.cache/redis');
const HOW = 'install it (apt-get install -y redis-server), or say where it is with CORRAL_REDIS_SERVER';

/** @param {string} program */
const answers = (program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0;

/** @returns {string | undefined} */
function found() {
  const candidates = [
    process.env.CORRAL_REDIS_SERVER,
    'redis-server',
    path.join(UNPACKED, 'usr/bin/redis-server'),
    'valkey-server',
  ];
  return candidates.find((program) => program !== undefined && answers(program));
}

/**
 * @returns {string} the program
 * @throws {Error} there is none, and what to do
 */
function redisServer() {
  const program = found();
  if (program === undefined) throw new Error(`redis-server is not here: ${HOW}`);
  return program;
}

/** Sees to it that there is one. Whoever cannot have it gets a message; the tests fail then, and say so. */
function provideRedis() {
  if (found() !== undefined) return;
  const what = [
    'download',
    'redis-server',
    'redis-tools',
    'liblzf1',
    'libjemalloc2',
    'libatomic1',
    'liblua5.1-0',
    'lua-cjson',
    'lua-bitop',
  ];
  download({ type: 'deb', suite: SUITE, what }, (work) => {
    fs.rmSync(UNPACKED, { recursive: true, force: true });
    fs.mkdirSync(UNPACKED, { recursive: true });
    for (const file of fs.readdirSync(work).filter((name) => name.endsWith('.deb'))) {
      run('dpkg-deb', ['--extract', path.join(work, file), UNPACKED], 'unpacking');
    }
  });
  wrap();
}

/** The program finds the libraries that were unpacked beside it. */
function wrap() {
  const program = path.join(UNPACKED, 'usr/bin/redis-server');
  const [libraries] = fs
    .readdirSync(path.join(UNPACKED, 'usr/lib'))
    .filter((name) => name.endsWith('-linux-gnu'));
  fs.rmSync(program, { force: true });
  const real = path.join(UNPACKED, 'usr/bin/redis-check-rdb');
  const library = path.join(UNPACKED, 'usr/lib', libraries ?? '');
  // It is one program under several names, and does what it is called.
  fs.writeFileSync(
    program,
    `#!/bin/bash\nLD_LIBRARY_PATH='${library}' exec -a redis-server '${real}' "$@"\n`,
    { mode: 0o755 },
  );
}

module.exports = { HOW, provideRedis, redisServer };
