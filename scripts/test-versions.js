#!/usr/bin/env node
'use strict';

// Runs the JavaScript tests on the other Node versions that corral supports.
//
//   node scripts/test-versions.js [options] [version ...]
//
// The binaries are those of the npm packages node-<platform>-<arch>, kept in .cache/node-versions.

const fs = require('node:fs');
const path = require('node:path');
const { parseArgs } = require('node:util');
const { spawnSync } = require('node:child_process');
const { runGroup, killAllOnSignals } = require('./lib-process-group.js');

const ROOT = path.resolve(__dirname, '..');
const CACHE = path.join(ROOT, '.cache', 'node-versions');
const DEFAULT_VERSIONS = ['22', '24', '26'];

/** Packs and installs, which has nothing to do with the version that runs it. */
const NOT_HERE = /(^|[/.-])(pack|packag)/;

const USAGE = `usage: node scripts/test-versions.js [options] [version ...]

  version         22, 24.9.0 and the like (default: ${DEFAULT_VERSIONS.join(' ')})
  --node-suite    also Node's own tests of cluster and net (scripts/test-node.js --compare)
  --filter TEXT   only test files whose path contains TEXT
  --timeout S     seconds for all test files of one version (default 900)
  --verbose       print the output of what passes as well`;

/**
 * The binary of a version; downloaded when it is not in the cache.
 *
 * @param {string} version
 * @returns {string}
 */
function nodeBinary(version) {
  const name = `node-${process.platform}-${process.arch}`;
  const directory = path.join(CACHE, `${name}-${version}`);
  const binary = path.join(directory, 'package', 'bin', 'node');
  if (fs.existsSync(binary)) return binary;
  fs.mkdirSync(CACHE, { recursive: true });
  // Unpacked beside its place and then renamed: an interrupted run never looks like a complete one.
  const partial = fs.mkdtempSync(path.join(CACHE, 'partial-'));
  try {
    console.log(`getting ${name}@${version} ...`);
    const packed = command('npm', ['pack', `${name}@${version}`, '--silent', '--pack-destination', partial]);
    const archive = packed.trim().split('\n').pop() ?? '';
    command('tar', ['-xzf', path.join(partial, archive), '-C', partial, 'package/bin/node']);
    fs.rmSync(path.join(partial, archive));
    fs.chmodSync(partial, 0o755);
    fs.renameSync(partial, directory);
  } finally {
    fs.rmSync(partial, { recursive: true, force: true });
  }
  return binary;
}

/**
 * @param {string} file
 * @param {string[]} args
 */
function command(file, args) {
  // Not in the repo: there npm would take part in its workspace and its scripts.
  const result = spawnSync(file, args, { cwd: CACHE, encoding: 'utf8' });
  if (result.error) throw result.error;
  if (result.status !== 0) throw new Error(`${file} ${args.join(' ')} failed\n${result.stderr}`);
  return result.stdout;
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
    const exact = command(binary, ['-p', 'process.version']).trim();
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
