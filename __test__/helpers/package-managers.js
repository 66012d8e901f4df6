'use strict';

// The package managers that people deploy with, by exact versions, in a temporary directory.

const fs = require('node:fs');
const path = require('node:path');
const { run } = require('./install');

/** By the name that they are installed under: what npm calls them. */
const VERSIONS = {
  'npm-10': 'npm:npm@10.9.9',
  'npm-11': 'npm:npm@11.21.2',
  pnpm: 'npm:pnpm@12.21.0',
  'yarn-1': 'npm:yarn@1.22.22',
  'yarn-4': 'npm:@yarnpkg/cli-dist@4.18.1',
};

/** Where each of them begins, in its package. */
const ENTRIES = {
  'npm-10': 'bin/npm-cli.js',
  'npm-11': 'bin/npm-cli.js',
  pnpm: 'pnpm',
  'yarn-1': 'bin/yarn.js',
  'yarn-4': 'bin/yarn.js',
};

/**
 * @typedef {object} Manager
 * @property {string} name
 * @property {(spec: string) => string[]} add what puts a dependency into the project, and writes the lock file
 * @property {string[]} deploy what installs that in another place, without what is for development
 * @property {string[]} [command] what runs the program, if it is not Node alone
 * @property {Record<string, string>} [files] of the project, that this manager needs
 * @property {NodeJS.ProcessEnv} [env]
 */

/**
 * @param {string} directory where to put them
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<Record<string, Manager>>}
 */
async function installManagers(directory, env) {
  fs.mkdirSync(directory, { recursive: true });
  fs.writeFileSync(path.join(directory, 'package.json'), '{ "private": true }');
  const specs = Object.entries(VERSIONS).map(([name, version]) => `${name}@${version}`);
  await run(['npm', 'install', '--foreground-scripts', ...specs], { cwd: directory, env });
  const start = (/** @type {keyof typeof ENTRIES} */ name) => {
    const entry = path.join(directory, 'node_modules', name, ENTRIES[name]);
    return entry.endsWith('.js') ? [process.execPath, entry] : [entry];
  };
  /** @param {'npm-10' | 'npm-11'} name @returns {Manager} */
  const npm = (name) => ({
    name,
    add: (spec) => [...start(name), 'install', spec],
    deploy: [...start(name), 'ci', '--omit=dev'],
  });
  const yarn4 = {
    add: (/** @type {string} */ spec) => [...start('yarn-4'), 'add', spec],
    // No server of theirs is asked, or told anything; and a lock file may be written in CI by `add`.
    env: { YARN_ENABLE_TELEMETRY: '0', YARN_ENABLE_GLOBAL_CACHE: '0', YARN_ENABLE_IMMUTABLE_INSTALLS: '0' },
  };
  return {
    'npm-10': npm('npm-10'),
    'npm-11': npm('npm-11'),
    pnpm: {
      name: 'pnpm',
      add: (spec) => [...start('pnpm'), 'add', spec],
      deploy: [...start('pnpm'), 'install', '--prod', '--frozen-lockfile'],
    },
    'yarn-1': {
      name: 'yarn 1',
      add: (spec) => [...start('yarn-1'), 'add', spec],
      deploy: [...start('yarn-1'), 'install', '--production', '--frozen-lockfile'],
    },
    'yarn-4': {
      ...yarn4,
      name: 'yarn 4, node_modules',
      files: { 'yarn.lock': '', '.yarnrc.yml': 'nodeLinker: node-modules\n' },
      deploy: [...start('yarn-4'), 'workspaces', 'focus', '--production'],
    },
    'yarn-4-pnp': {
      ...yarn4,
      name: "yarn 4, Plug'n'Play",
      files: { 'yarn.lock': '', '.yarnrc.yml': 'nodeLinker: pnp\n' },
      deploy: [...start('yarn-4'), 'workspaces', 'focus', '--production'],
      command: [...start('yarn-4'), 'node', 'app.js'],
    },
  };
}

module.exports = { VERSIONS, installManagers };
