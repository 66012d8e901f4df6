'use strict';

// Programs that run once on node:cluster and once on corral, and must see the same.
//
// The programs are in parity/programs, what they are made of in parity/scenario.js. A program's first lines may say
//   // Serialization: json advanced     to run it in both (default: once, with nothing set)
//   // Flags: --inspect=0               for node
//   // Lanes: with without              to run corral with lanes and without (default: with)
// PARITY_SELF=1 compares the built-in with itself, which shows whether a program is fit for a comparison at all.
// PARITY_PROGRAM=name and PARITY_ONLY=case,case pick some.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { describe, test } = require('node:test');
const { runGroup, killAllOnSignals } = require('../../scripts/lib-process-group.js');
const { promised } = require('./differences.js');

const PROGRAMS = path.join(__dirname, 'programs');
const BUILTIN = 'node:cluster';
const CORRAL = process.env.PARITY_SELF ? BUILTIN : path.resolve(__dirname, '../..');

/** For a program as a whole; each of its cases has a limit of its own. */
const TIMEOUT_MS = 180_000;

killAllOnSignals();

/**
 * @param {string} file
 * @param {string} key
 */
function header(file, key) {
  const found = new RegExp(`^// ${key}: (.*)$`, 'm').exec(fs.readFileSync(file, 'utf8'));
  return found ? found[1].trim().split(/\s+/) : [];
}

/** @param {string} module */
function environment(module) {
  const env = { ...process.env, PARITY_MODULE: module };
  for (const name of Object.keys(env)) {
    if (/^NODE_/.test(name)) delete env[name];
  }
  return env;
}

/**
 * @param {string} file
 * @param {string} module
 * @param {string} serialization
 * @param {string} lanes 'with' or 'without'
 */
async function traceOf(file, module, serialization, lanes) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'parity-'));
  try {
    const trace = path.join(directory, 't');
    const scratch = path.join(directory, 's');
    fs.mkdirSync(trace);
    fs.mkdirSync(scratch);
    const env = { ...environment(module), PARITY_TRACE: trace, PARITY_SCRATCH: scratch };
    if (serialization) env.PARITY_SERIALIZATION = serialization;
    if (lanes === 'without') env.CORRAL_LANE = '0';
    const args = [...header(file, 'Flags'), file];
    const outcome = await runGroup(process.execPath, args, { cwd: scratch, env, timeout: TIMEOUT_MS });
    return { lanes: readLanes(trace), outcome };
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * @param {string} directory
 * @returns {Record<string, any[]>}
 */
function readLanes(directory) {
  const lanes = {};
  for (const name of fs.readdirSync(directory).sort()) {
    const entries = fs
      .readFileSync(path.join(directory, name), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const lane = path.basename(name, '.jsonl').replaceAll('!', '/');
    lanes[lane] = lane.includes('~') ? entries.map((entry) => JSON.stringify(entry)).sort() : entries;
  }
  return lanes;
}

/**
 * @param {string} program
 * @param {Record<string, any[]>} lanes
 */
function asPromised(program, lanes) {
  return Object.fromEntries(
    Object.entries(lanes).map(([lane, entries]) => [lane, promised(program, lane, entries)]),
  );
}

/**
 * Counts by worker, such as {"worker-1":3,"worker-2":3}, as their sum.
 *
 * @param {Record<string, any[]>} lanes
 */
function withoutShares(lanes) {
  const counts = /\{(?:\\*"worker-\d+\\*":\d+,?)+\}/g;
  const sum = (/** @type {string} */ text) =>
    [...text.matchAll(/:(\d+)/g)].reduce((total, [, count]) => total + Number(count), 0);
  return JSON.parse(JSON.stringify(lanes).replace(counts, (text) => `${sum(text)}`));
}

/** @param {Awaited<ReturnType<typeof runGroup>>} outcome */
function ending({ code, signal, timedOut, stdout, leftovers }) {
  return { code, signal, timedOut, stdout, leftovers: leftovers.length };
}

/**
 * @param {string} file
 * @param {string} serialization
 * @param {string} lanes 'with' or 'without'
 */
async function compare(file, serialization, lanes) {
  const program = path.basename(file, '.js');
  const [expected, actual] = await Promise.all([
    soundTraceOf(file, serialization, lanes),
    traceOf(file, CORRAL, serialization, lanes),
  ]);
  // Against itself the built-in cannot be expected to keep corral's promises.
  const promise = process.env.PARITY_SELF ? asPromised(program, actual.lanes) : actual.lanes;
  // Where a worker is late, another takes its turn: with lanes the shares are not promised, only that all are served.
  const comparable = lanes === 'with' ? withoutShares : (/** @type {any} */ trace) => trace;
  try {
    assertSound(expected);
    compareLanes(comparable(promise), comparable(asPromised(program, expected.lanes)));
    assert.deepEqual(ending(actual.outcome), ending(expected.outcome), 'the programs ended differently');
  } catch (error) {
    const tail = (/** @type {string} */ text) => text.trimEnd().split('\n').slice(-15).join('\n');
    error.message += `\nstandard error of the built-in:\n${tail(expected.outcome.stderr)}`;
    error.message += `\nstandard error of corral:\n${tail(actual.outcome.stderr)}`;
    throw error;
  }
}

/** How often the built-in may try. */
const ATTEMPTS = 3;

/**
 * What the built-in does. When it is disconnected with handles on the way, it waits for ever now and then: then once more.
 *
 * @param {string} file
 * @param {string} serialization
 * @param {string} lanes 'with' or 'without'
 */
async function soundTraceOf(file, serialization, lanes) {
  for (let attempt = 1; ; attempt++) {
    const trace = await traceOf(file, BUILTIN, serialization, lanes);
    if (attempt === ATTEMPTS || isSound(trace)) return trace;
  }
}

/** @param {Awaited<ReturnType<typeof traceOf>>} trace */
function isSound(trace) {
  try {
    assertSound(trace);
    return true;
  } catch {
    return false;
  }
}

/**
 * A program that does not even work with the built-in proves nothing.
 *
 * @param {Awaited<ReturnType<typeof traceOf>>} trace
 */
function assertSound({ lanes, outcome }) {
  assert.notDeepEqual(lanes, {}, 'the program logged nothing');
  for (const [lane, entries] of Object.entries(lanes)) {
    const unfit = entries.find(([event]) => /^case (failed|took too long)$/.test(event));
    assert.equal(unfit, undefined, `on the built-in, ${lane}: ${JSON.stringify(unfit)}`);
  }
  assert.equal(outcome.code, 0, `on the built-in the program ended with ${outcome.code ?? outcome.signal}`);
}

/** @param {unknown} entry */
function asLine(entry) {
  return JSON.stringify(entry);
}

/**
 * Lane by lane, so that one message tells of all that differ.
 *
 * @param {Record<string, any[]>} actual
 * @param {Record<string, any[]>} expected
 */
function compareLanes(actual, expected) {
  const complaints = [];
  for (const lane of new Set([...Object.keys(expected), ...Object.keys(actual)])) {
    try {
      // One line for each entry, which makes differences readable.
      assert.deepEqual(actual[lane]?.map(asLine), expected[lane]?.map(asLine));
    } catch (error) {
      complaints.push(`${lane} (+ corral, - built-in)\n${error.message}`);
    }
  }
  assert.equal(complaints.length, 0, `${complaints.length} lanes differ\n\n${complaints.join('\n\n')}`);
}

describe('parity with node:cluster', { concurrency: 2 }, () => {
  for (const name of fs
    .readdirSync(PROGRAMS)
    .filter((entry) => entry.endsWith('.js'))
    .sort()) {
    const program = path.basename(name, '.js');
    if (process.env.PARITY_PROGRAM && !process.env.PARITY_PROGRAM.split(',').includes(program)) continue;
    const file = path.join(PROGRAMS, name);
    const modes = header(file, 'Serialization');
    const lanes = header(file, 'Lanes');
    for (const serialization of modes.length > 0 ? modes : ['']) {
      for (const which of lanes.length > 0 ? lanes : ['with']) {
        const title = [serialization, lanes.length > 0 && `${which} lanes`].filter(Boolean).join(', ');
        test(`${program}${title && ` (${title})`}`, () => compare(file, serialization, which));
      }
    }
  }
});
