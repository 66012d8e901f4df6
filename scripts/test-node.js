#!/usr/bin/env node
'use strict';

// Runs Node's own tests of `cluster`, and of `net` over paths, with corral in their place.
//
//   node scripts/test-node.js [options] [name ...]
//
// The tests are those of Node 20.19 (see lib-node-tests.js for where they come from, lib-node-suites.js for which they
// are). Each runs in a process of its own, with its own `// Flags:`, in the way Node's tools/test.py does it.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { spawnSync } = require('node:child_process');
const { parseArgs } = require('node:util');
const { runGroup, killAllOnSignals } = require('./lib-process-group.js');
const { nodeTestsDirectory, Unavailable } = require('./lib-node-tests.js');
const { NODE_TESTS } = require('./provide.js');
const { SUITES, findTests } = require('./lib-node-suites.js');

const EXCEPTIONS = path.join(__dirname, 'test-node-exceptions.json');

const USAGE = `usage: node scripts/test-node.js [options] [name ...]

  name            only tests whose path contains one of these
  --suite NAME    cluster or net (default: both)
  --builtin       with Node's own module instead of corral's: the baseline
  --compare       run what fails a second time with Node's own module; what fails there too counts as skipped
  --repeat N      every test N times (default 1)
  --jobs N        tests of test/parallel at a time (default: the cores, at most 3)
  --timeout S     seconds for one test (default 60)
  --node PATH     another node binary
  --list          print the names and stop
  --verbose       print passing tests as well

The tests are cached in .cache/node-tests; CORRAL_NODE_TESTS=dir uses those of a Node source tree instead.`;

const OUTPUT_LINES = 40;

/** Who runs the tests that refuse to be run by root, when root runs this: nobody. */
const NOBODY = 65534;

/**
 * @typedef {import('./lib-node-suites.js').Suite} Suite
 * @typedef {import('./lib-node-suites.js').NodeTest} NodeTest
 */

/** @typedef {'passed' | 'failed' | 'skipped' | 'excepted'} Verdict */

/**
 * @typedef {object} Report
 * @property {NodeTest} test
 * @property {Verdict} verdict
 * @property {string} reason one line
 * @property {string} output
 * @property {number} milliseconds
 */

/** @param {string} node */
function majorVersion(node) {
  const { stdout, error } = spawnSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' });
  if (error) throw new Unavailable(`cannot run ${node}: ${error.message}`);
  return Number.parseInt(stdout, 10);
}

function options() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      suite: { type: 'string' },
      builtin: { type: 'boolean', default: false },
      compare: { type: 'boolean', default: false },
      repeat: { type: 'string', default: '1' },
      jobs: { type: 'string', default: String(Math.min(3, os.availableParallelism())) },
      timeout: { type: 'string', default: '60' },
      node: { type: 'string', default: process.execPath },
      list: { type: 'boolean', default: false },
      verbose: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const node = path.resolve(/** @type {string} */ (values.node));
  return {
    ...values,
    node,
    major: majorVersion(node),
    suites: chosenSuites(values.suite),
    repeat: positive('--repeat', values.repeat),
    jobs: positive('--jobs', values.jobs),
    timeout: positive('--timeout', values.timeout) * 1000,
    filters: positionals,
  };
}

/**
 * @param {string} name
 * @param {string | undefined} text
 */
function positive(name, text) {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new TypeError(`${name} wants a number from 1, not '${text}'`);
  return value;
}

/** @param {string | undefined} name */
function chosenSuites(name) {
  const suites = SUITES.filter((suite) => name === undefined || suite.name === name);
  if (suites.length > 0) return suites;
  throw new TypeError(`--suite wants ${SUITES.map((suite) => suite.name).join(' or ')}, not '${name}'`);
}

/**
 * @param {Suite} suite
 * @returns {Record<string, string>} reason by test name
 */
function readExceptions(suite) {
  return JSON.parse(fs.readFileSync(EXCEPTIONS, 'utf8'))[suite.name] ?? {};
}

/**
 * What the tests see of our environment: nothing that makes Node behave differently.
 *
 * @param {{ scratch: string, slot: number, alone: boolean, major: number, preload?: string }} place
 * @returns {NodeJS.ProcessEnv}
 */
function environment({ scratch, slot, alone, major, preload }) {
  const env = { ...process.env };
  for (const name of Object.keys(env)) {
    // But for CORRAL_LANE, by which a run says that it wants to go without lanes.
    if (/^(NODE_|CORRAL_(?!LANE$)|TEST_|npm_|FORCE_COLOR$|NO_COLOR$)/.test(name)) delete env[name];
  }
  // test/common knows the globals of Node 20 and complains about others; later versions have more.
  if (major !== 20) env.NODE_TEST_KNOWN_GLOBALS = '0';
  // Here and not in the command line, so that it reaches the programs that a test starts.
  if (preload !== undefined) env.NODE_OPTIONS = `--require ${JSON.stringify(preload)}`;
  env.NODE_TEST_DIR = scratch;
  env.TEST_THREAD_ID = String(slot);
  env.TEST_PARALLEL = alone ? '0' : '1';
  // Two runs on one machine must not meet on the fixed ports of test/sequential. Below the ephemeral range.
  env.NODE_COMMON_PORT = String(12000 + (process.pid % 1800) * 10);
  return env;
}

/**
 * Whether a test that refuses to be run by root can be run by somebody else: not when the repo is below /root.
 *
 * @param {NodeTest} test
 * @param {string} node
 */
function nobodyCanRead(test, node) {
  if (process.getuid?.() !== 0) return false;
  const script = "process.argv.slice(1).forEach((file) => require('node:fs').accessSync(file))";
  const identity = { uid: NOBODY, gid: NOBODY };
  return (
    spawnSync(node, ['-e', script, test.file, __filename], { ...identity, stdio: 'ignore' }).status === 0
  );
}

/**
 * @param {NodeTest} test
 * @param {ReturnType<typeof options>} settings
 * @param {{ scratch: string, slot: number, preload?: string, uid?: number }} place
 * @returns {Promise<Report>}
 */
async function runTest(test, settings, { scratch, slot, preload, uid }) {
  const outcome = await runGroup(settings.node, [...test.flags, test.file], {
    cwd: path.dirname(path.dirname(test.file)),
    env: environment({ scratch, slot, preload, alone: test.alone, major: settings.major }),
    timeout: settings.timeout,
    uid,
  });
  const { output, milliseconds } = outcome;
  const skip = /^1\.\.0 # Skipped:?\s*(.*)$/im.exec(outcome.stdout);
  if (skip && uid === undefined && /root/.test(skip[1]) && nobodyCanRead(test, settings.node)) {
    return runTest(test, settings, { scratch, slot, preload, uid: NOBODY });
  }
  /** @type {[Verdict, string]} */
  let result = ['passed', ''];
  if (outcome.timedOut) result = ['failed', `stopped after ${settings.timeout / 1000} s`];
  else if (outcome.signal) result = ['failed', `ended by ${outcome.signal}`];
  else if (outcome.code !== 0) result = ['failed', `exit code ${outcome.code}`];
  else if (outcome.leftovers.length > 0)
    result = ['failed', `left ${outcome.leftovers.length} processes running`];
  else if (skip) result = ['skipped', skip[1]];
  return { test, verdict: result[0], reason: result[1], output, milliseconds };
}

/**
 * Runs each of `items` once, at most `jobs` at a time, and passes on the results in the order of `items`.
 *
 * @template T, R
 * @param {T[]} items
 * @param {number} jobs
 * @param {(item: T, slot: number) => Promise<R>} work
 * @param {(result: R) => void} done
 */
async function inOrder(items, jobs, work, done) {
  /** @type {Map<number, R>} */
  const finished = new Map();
  let next = 0;
  let reported = 0;
  await Promise.all(
    Array.from({ length: jobs }, async (_, slot) => {
      while (next < items.length) {
        const index = next++;
        finished.set(index, await work(items[index], slot));
        for (; finished.has(reported); reported++) {
          done(/** @type {R} */ (finished.get(reported)));
          finished.delete(reported);
        }
      }
    }),
  );
}

/**
 * @param {Report} report
 * @param {boolean} verbose
 */
function print({ test, verdict, reason, output, milliseconds }, verbose) {
  const seconds = `${(milliseconds / 1000).toFixed(1)} s`;
  if (verdict === 'passed') {
    if (verbose) console.log(`passed    ${test.name} (${seconds})`);
    return;
  }
  console.log(`${verdict.padEnd(9)} ${test.name}: ${reason} (${seconds})`);
  if (verdict !== 'failed') return;
  const lines = output.trimEnd().split('\n');
  if (lines.length > OUTPUT_LINES) console.log(`    ... ${lines.length - OUTPUT_LINES} lines before`);
  for (const line of lines.slice(-OUTPUT_LINES)) console.log(`    ${line}`);
}

/**
 * @param {Suite} suite
 * @param {NodeTest[]} tests of it
 * @param {ReturnType<typeof options>} settings
 * @param {string} scratch
 */
async function runAll(suite, tests, settings, scratch) {
  const exceptions = settings.builtin ? {} : readExceptions(suite);
  const preload = settings.builtin ? undefined : suite.preload;
  /** @type {Record<Verdict, Report[]>} */
  const reports = { passed: [], failed: [], skipped: [], excepted: [] };

  /** @param {NodeTest} test @param {number} slot */
  const work = async (test, slot) => {
    const report = await runTest(test, settings, { scratch, slot, preload });
    if (report.verdict !== 'failed') return report;
    if (Object.hasOwn(exceptions, test.name)) {
      return { ...report, verdict: /** @type {Verdict} */ ('excepted'), reason: exceptions[test.name] };
    }
    if (!settings.compare || settings.builtin) return report;
    const baseline = await runTest(test, settings, { scratch, slot });
    if (baseline.verdict !== 'failed') return report;
    return {
      ...report,
      verdict: /** @type {Verdict} */ ('skipped'),
      reason: `fails with the built-in ${suite.name} too`,
    };
  };
  /** @param {Report} report */
  const done = (report) => {
    reports[report.verdict].push(report);
    print(report, settings.verbose);
  };
  for (let round = 1; round <= settings.repeat; round++) {
    if (settings.repeat > 1) console.log(`round ${round} of ${settings.repeat}`);
    await inOrder(
      tests.filter((test) => !test.alone),
      settings.jobs,
      work,
      done,
    );
    await inOrder(
      tests.filter((test) => test.alone),
      1,
      work,
      done,
    );
  }
  for (const name of Object.keys(exceptions)) {
    if (reports.passed.some((report) => report.test.name === name)) {
      console.log(`note: ${name} passes, although test-node-exceptions.json names it`);
    }
  }
  return reports;
}

/** @param {Record<Verdict, Report[]>} reports of one suite */
function printReasons({ failed, excepted }) {
  if (failed.length > 0) {
    console.log('\nfailed:');
    for (const { test, reason } of failed) console.log(`  ${test.name}: ${reason}`);
  }
  if (excepted.length > 0) {
    console.log(`\n${excepted.length} excepted, each with its reason (test-node-exceptions.json):`);
    for (const { test, reason } of excepted) console.log(`  ${test.name}: ${reason}`);
  }
}

/** @param {Record<Verdict, Report[]>[]} reports of several suites */
function counts(reports) {
  /** @param {Verdict} verdict */
  const count = (verdict) => reports.reduce((sum, report) => sum + report[verdict].length, 0);
  return `${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped`;
}

/**
 * @param {Suite} suite
 * @param {NodeTest[]} tests
 * @param {ReturnType<typeof options>} settings
 */
function title(suite, tests, { builtin, major }) {
  const loading = tests.filter((test) => test.loads).length;
  const some = loading < tests.length ? ` (${loading} load it themselves)` : '';
  const subject = builtin ? `the built-in ${suite.name}` : 'corral';
  return `${tests.length} tests of Node ${suite.subject}${some}, on ${subject}, Node ${major}`;
}

async function main() {
  const settings = options();
  if (settings.help) {
    console.log(USAGE);
    return;
  }
  const { filters } = settings;
  const directory = nodeTestsDirectory(NODE_TESTS);
  const chosen = settings.suites
    .map((suite) => {
      const tests = findTests(suite, directory);
      const wanted = (/** @type {NodeTest} */ { name }) => filters.some((filter) => name.includes(filter));
      return { suite, tests: filters.length === 0 ? tests : tests.filter(wanted) };
    })
    .filter(({ tests }) => tests.length > 0);
  if (chosen.length === 0) throw new Unavailable(`no test matches ${filters.join(', ')}`);
  if (settings.list) {
    const names = new Set(chosen.flatMap(({ tests }) => tests.map(({ name }) => name)));
    for (const name of names) console.log(name);
    return;
  }
  // Short, because Unix socket paths are made below it.
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-node-'));
  fs.chmodSync(scratch, 0o777);
  process.once('exit', () => fs.rmSync(scratch, { recursive: true, force: true }));
  /** @type {Record<Verdict, Report[]>[]} */
  const all = [];
  /** @type {string[]} */
  const lines = [];
  for (const { suite, tests } of chosen) {
    console.log(`${all.length > 0 ? '\n' : ''}${title(suite, tests, settings)}`);
    const reports = await runAll(suite, tests, settings, scratch);
    printReasons(reports);
    all.push(reports);
    lines.push(`${suite.name}: ${counts([reports])}`);
  }
  console.log(`\n${[...(lines.length > 1 ? lines : []), counts(all)].join('\n')}`);
  if (all.some(({ failed }) => failed.length > 0)) process.exitCode = 1;
}

// First, so that on the way out nothing runs any more when the files are removed.
killAllOnSignals();
main().catch((error) => {
  const known =
    error instanceof Unavailable || /^ERR_PARSE_ARGS/.test(error.code) || error instanceof TypeError;
  console.error(known ? `test-node: ${error.message}` : error);
  process.exitCode = 2;
});
