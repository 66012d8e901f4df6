#!/usr/bin/env node
'use strict';

// Runs the JavaScript tests on the other Node versions that corral supports.
//
//   node scripts/test-versions.js [options] [version ...]
//
// The binaries are those of the npm packages node-<platform>-<arch>: lib-runtimes.js.

const fs = require('node:fs');
const path = require('node:path');
const { parseArgs } = require('node:util');
const { execFileSync } = require('node:child_process');
const { runGroup, killAllOnSignals } = require('./lib-process-group.js');
const { find } = require('./lib-runtimes.js');

const ROOT = path.resolve(__dirname, '..');
const DEFAULT_VERSIONS = ['22', '24', '26'];

/** Packs and installs, which has nothing to do with the version that runs it. */
const NOT_HERE = /(^|[/.-])(pack|packag|getting-started)/;

const USAGE = `usage: node scripts/test-versions.js [options] [version ...]

  version         22, 24.9.0 and the like (default: ${DEFAULT_VERSIONS.join(' ')})
  --node-suite    also Node's own tests of cluster and net (scripts/test-node.js --compare)
  --filter TEXT   only test files whose path contains TEXT
  --timeout S     seconds for all test files of one version (default 900)
  --verbose       print the output of what passes as well`;

/**
 * @param {string} version
 * @returns {string} its binary; fetched if it has not been
 */
function nodeBinary(version) {
  const found = find(`Node ${version}`);
  if ('missing' in found) throw new Error(found.missing);
  return found.runtime.binary;
}

/**
 * @param {string} directory
 * @returns {string[]} relative to the repo
 */
function testFiles(directory = '__test__') {
  return fs
    .readdirSync(path.join(ROOT, directory), { withFileTypes: true })
    .flatMap((entry) => {
      const name = path.join(directory, entry.name);
      if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : testFiles(name);
      return name.endsWith('.test.js') && !NOT_HERE.test(entry.name) ? [name] : [];
    })
    .sort();
}

/**
 * Our own environment without what a test run that surrounds this one, or npm, has put there.
 *
 * @param {string} binary
 * @returns {NodeJS.ProcessEnv}
 */
function environment(binary) {
  const env = { ...process.env };
  for (const name of Object.keys(env)) {
    if (/^(NODE_|npm_)/.test(name)) delete env[name];
  }
  // Programs that the tests start by the name of `node` are to be of that version as well.
  env.PATH = `${path.dirname(binary)}${path.delimiter}${env.PATH}`;
  return env;
}

/**
 * @param {string} title
 * @param {string} binary
 * @param {string[]} args
 * @param {{ timeout: number, verbose: boolean }} options
 * @returns {Promise<{ passed: boolean, line: string }>}
 */
async function step(title, binary, args, { timeout, verbose }) {
  const outcome = await runGroup(binary, args, { cwd: ROOT, env: environment(binary), timeout });
  const passed = outcome.code === 0 && !outcome.timedOut;
  if (!passed || verbose) process.stdout.write(outcome.output);
  const seconds = `${Math.round(outcome.milliseconds / 1000)} s`;
  let result = passed ? 'passed' : 'FAILED';
  if (outcome.timedOut) result += `, stopped after ${timeout / 1000} s`;
  return { passed, line: `${title}: ${result}, ${counts(outcome.stdout)} (${seconds})` };
}

/**
 * What a test runner says at its end: Node's, or scripts/test-node.js.
 *
 * @param {string} output
 */
function counts(output) {
  const ours = /^\d+ passed, \d+ failed.*$/m.exec(output);
  if (ours) return ours[0];
  const found = ['pass', 'fail', 'skipped'].map((name) => {
    const count = new RegExp(`^(?:#|\\u2139) ${name} (\\d+)$`, 'm').exec(output)?.[1];
    return count && `${count} ${name}`;
  });
  return found.filter(Boolean).join(', ') || 'no counts printed';
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      'node-suite': { type: 'boolean', default: false },
      filter: { type: 'string', default: '' },
      timeout: { type: 'string', default: '900' },
      verbose: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return;
  }
  const options = { timeout: Number(values.timeout) * 1000, verbose: Boolean(values.verbose) };
  const files = testFiles().filter((name) => name.includes(values.filter ?? ''));
  if (files.length === 0) throw new Error(`no test file has '${values.filter}' in its path`);

  const lines = [];
  let failed = false;
  for (const version of positionals.length > 0 ? positionals : DEFAULT_VERSIONS) {
    const binary = nodeBinary(version);
    const exact = execFileSync(binary, ['-p', 'process.version'], { encoding: 'utf8' }).trim();
    console.log(`Node ${exact}: ${files.length} test files`);
    // The same reporter in all versions, so that its counts can be read.
    const steps = [
      await step(`Node ${exact}, our tests`, binary, ['--test', '--test-reporter=tap', ...files], options),
    ];
    if (values['node-suite']) {
      const suite = [path.join(__dirname, 'test-node.js'), '--compare'];
      steps.push(await step(`Node ${exact}, Node's own`, binary, suite, options));
    }
    failed ||= steps.some(({ passed }) => !passed);
    lines.push(...steps.map(({ line }) => line));
  }
  console.log(`\n${lines.join('\n')}`);
  if (failed) process.exitCode = 1;
}

killAllOnSignals();
main().catch((error) => {
  console.error(`test-versions: ${error.message}`);
  process.exitCode = 2;
});
