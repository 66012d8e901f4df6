'use strict';

// What flags, config files and pm2's ecosystem files come to.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const { parseArguments } = require('../../cli/arguments');
const { COMMANDS } = require('../../cli/commands');
const { configOf } = require('../../cli/config');
const { cores } = require('../../cli/cores');
const { scratchDirectory } = require('../helpers/example');

const RUN = /** @type {import('../../cli/commands').Command} */ (COMMANDS.find(({ name }) => name === 'run'));

/**
 * @param {import('node:test').TestContext} t
 * @param {Record<string, string>} files
 * @param {string[]} args
 */
async function configFrom(t, files, args) {
  const directory = scratchDirectory(t);
  for (const [name, text] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(directory, name)), { recursive: true });
    fs.writeFileSync(path.join(directory, name), text);
  }
  const { flags, words } = parseArguments(RUN, args);
  const { config, notes } = await configOf(flags, words, directory);
  return { config: { ...config, script: path.relative(directory, config.script) }, notes, directory };
}

test('flags are read by their types', async (t) => {
  const args =
    '-w 3 --drain 1.5s --max-age 1d --max-memory 1.5G --env A=1 -e B=x=y --surge 0 --node-arg=--no-warnings app.js';
  const { config } = await configFrom(t, { 'app.js': '' }, [...args.split(' '), '-w', '--name', 'x']);
  const { workers, drain, maxAge, maxMemory, env, surge, nodeArgs, script, args: rest } = config;
  assert.deepEqual([workers, drain, maxAge, maxMemory, surge], [3, 1500, 86_400_000, 1.5 * 2 ** 30, 0]);
  assert.deepEqual(env, { A: '1', B: 'x=y' });
  assert.deepEqual(nodeArgs, ['--no-warnings']);
  assert.deepEqual([script, rest], ['app.js', ['-w', '--name', 'x']]);
});

for (const [name, text] of [
  ['corral.config.js', 'module.exports = { script: "app.js", workers: 2, env: { A: 1, B: "file" } }'],
  ['corral.config.mjs', 'export default { script: "app.js", workers: 2, env: { A: 1, B: "file" } }'],
  ['corral.config.cjs', 'module.exports = { script: "app.js", workers: 2, env: { A: 1, B: "file" } }'],
  [
    'corral.config.json',
    '{ "script": "app.js", "workers": 2, "env": { "A": 1, "B": "file" }, "$schema": "x" }',
  ],
  ['package.json', '{ "corral": { "script": "app.js", "workers": 2, "env": { "A": 1, "B": "file" } } }'],
]) {
  test(`${name} is read, and flags come first`, async (t) => {
    const { config } = await configFrom(t, { 'app.js': '', [name]: text }, ['--env', 'B=flag']);
    assert.deepEqual([config.script, config.workers], ['app.js', 2]);
    assert.deepEqual(config.env, { A: '1', B: 'flag' });
    const { config: other } = await configFrom(t, { 'app.js': '', 'b.js': '', [name]: text }, [
      '-w',
      'max',
      'b.js',
    ]);
    assert.deepEqual([other.script, other.workers], ['b.js', 'max']);
  });
}

test('a config file is read anew each time', async (t) => {
  for (const [name, write] of /** @type {[string, (workers: number) => string][]} */ ([
    ['corral.config.js', (workers) => `module.exports = { script: 'app.js', workers: ${workers} }`],
    ['corral.config.mjs', (workers) => `export default { script: 'app.js', workers: ${workers} }`],
  ])) {
    const { directory } = await configFrom(t, { 'app.js': '', [name]: write(1) }, []);
    fs.writeFileSync(path.join(directory, name), write(2));
    assert.equal((await configOf({}, [], directory)).config.workers, 2);
  }
});

test('a program has the name of its package, or of its directory', async (t) => {
  const files = { 'app.js': '', 'package.json': '{ "name": "@scope/app" }' };
  assert.equal((await configFrom(t, files, ['app.js'])).config.name, '@scope-app');
  const { config, directory } = await configFrom(t, { 'app.js': '' }, ['app.js']);
  assert.equal(config.name, path.basename(directory).replace(/[^\w@.-]+/g, '-'));
});

test("pm2's ecosystem file is taken over, and what is not is told", async (t) => {
  const app = {
    name: 'shop',
    script: 'app.js',
    args: 'one two',
    instances: 'max',
    exec_mode: 'cluster',
    max_memory_restart: '300M',
    kill_timeout: 5000,
    wait_ready: true,
    listen_timeout: 3000,
    node_args: '--no-warnings',
    env: { A: '1' },
    env_production: { A: '2' },
    max_restarts: 10,
    watch: true,
  };
  const files = {
    'app.js': '',
    'ecosystem.config.js': `module.exports = ${JSON.stringify({ apps: [app, { name: 'other', script: 'b.js' }] })}`,
  };
  const { config, notes } = await configFrom(t, files, ['--only', 'shop', 'ecosystem.config.js']);
  const { name, script, args, workers, maxMemory, drain, ready, readyTimeout, nodeArgs, env } = config;
  assert.deepEqual(
    [name, script, args, workers, maxMemory, drain, ready, readyTimeout, nodeArgs, env],
    [
      'shop',
      'app.js',
      ['one', 'two'],
      'max',
      300 * 2 ** 20,
      5000,
      'message',
      3000,
      ['--no-warnings'],
      { A: '1' },
    ],
  );
  assert.deepEqual(
    notes,
    ['env_production', 'max_restarts', 'watch'].map((key) => `ecosystem.config.js: ${key} is not taken over`),
  );
});

test('a container has as many processors as its control groups have the time of', (t) => {
  /** @param {Record<string, string>} files @param {number} affinity */
  const coresOf = (files, affinity) => {
    const root = scratchDirectory(t);
    for (const [name, text] of Object.entries(files)) {
      fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
      fs.writeFileSync(path.join(root, name), text);
    }
    return cores(root, affinity);
  };
  const v2 = { 'proc/self/cgroup': '0::/a/b\n' };
  const v1 = { 'proc/self/cgroup': '4:memory:/x\n3:cpu,cpuacct:/docker/1\n' };
  assert.equal(coresOf({}, 8), 8);
  assert.equal(coresOf({ ...v2, 'sys/fs/cgroup/a/b/cpu.max': 'max 100000\n' }, 8), 8);
  assert.equal(coresOf({ ...v2, 'sys/fs/cgroup/a/b/cpu.max': '250000 100000\n' }, 8), 2);
  // Above the own group, and in a container, which sees its own as the uppermost.
  assert.equal(coresOf({ ...v2, 'sys/fs/cgroup/a/cpu.max': '300000 100000\n' }, 8), 3);
  assert.equal(coresOf({ ...v2, 'sys/fs/cgroup/cpu.max': '400000 100000\n' }, 8), 4);
  assert.equal(coresOf({ ...v2, 'sys/fs/cgroup/cpu.max': '50000 100000\n' }, 8), 1);
  assert.equal(coresOf({ ...v2, 'sys/fs/cgroup/cpu.max': '400000 100000\n' }, 2), 2);
  const quota = (/** @type {string} */ at, /** @type {number} */ microseconds) => ({
    [`sys/fs/cgroup/${at}/cpu.cfs_quota_us`]: `${microseconds}\n`,
    [`sys/fs/cgroup/${at}/cpu.cfs_period_us`]: '100000\n',
  });
  assert.equal(coresOf({ ...v1, ...quota('cpu,cpuacct/docker/1', 200_000) }, 8), 2);
  assert.equal(coresOf({ ...v1, ...quota('cpu', 300_000) }, 8), 3);
  assert.equal(coresOf({ ...v1, ...quota('cpu', -1) }, 8), 8);
});
