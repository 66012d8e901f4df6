#!/usr/bin/env node
'use strict';

// Fuzzes the parsers of what others send, one after the other: fuzz/fuzz_targets/ has a program for each.
//
//   node scripts/fuzz.js [options] [target ...]
//
// cargo-fuzz is what runs them; it is installed into .cache/ if there is none. What it asks of a nightly toolchain, a stable one has
// as well, if it is told that this is meant (RUSTC_BOOTSTRAP). What has been found to reach code stays in fuzz/corpus/ for the next time.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { parseArgs } = require('node:util');

const ROOT = path.resolve(__dirname, '..');
const FUZZ = path.join(ROOT, 'fuzz');
const TOOLS = path.join(ROOT, '.cache', 'cargo-fuzz');

/** A minute each. */
const DEFAULT_SECONDS = '60';
/** What takes longer than this is a fault. */
const SLOW_SECONDS = 10;
/** Beyond any bound of a single message's head, and small enough for thousands of runs a second. */
const MAX_LENGTH = 16 * 1024;

const USAGE = `usage: node scripts/fuzz.js [options] [target ...]

  target          first_bytes, frames, hello, inbox, lane, message, v8value (default: all)
  --seconds N     for how long each (default ${DEFAULT_SECONDS})`;

/**
 * @param {string[]} args of cargo
 * @param {string} cwd
 * @returns {boolean} whether it ended well
 */
function cargo(args, cwd) {
  const PATH = `${path.join(TOOLS, 'bin')}${path.delimiter}${process.env.PATH}`;
  const env = { ...process.env, PATH, RUSTC_BOOTSTRAP: '1' };
  return spawnSync('cargo', args, { cwd, env, stdio: 'inherit' }).status === 0;
}

/** @returns {string[]} */
function allTargets() {
  const files = fs.readdirSync(path.join(FUZZ, 'fuzz_targets'));
  return files.map((file) => path.basename(file, '.rs')).sort();
}

function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seconds: { type: 'string', default: DEFAULT_SECONDS },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const all = allTargets();
  const unknown = positionals.filter((name) => !all.includes(name));
  if (unknown.length > 0 || !/^[1-9]\d*$/.test(values.seconds)) {
    console.error(USAGE);
    return 2;
  }
  if (
    !cargo(['fuzz', '--version'], FUZZ) &&
    !cargo(['install', 'cargo-fuzz', '--locked', '--root', TOOLS], ROOT)
  )
    return 1;
  const options = [
    `-max_total_time=${values.seconds}`,
    `-timeout=${SLOW_SECONDS}`,
    `-max_len=${MAX_LENGTH}`,
    `-dict=${path.join(FUZZ, 'dictionary.txt')}`,
    '-print_final_stats=1',
  ];
  const failed = (positionals.length > 0 ? positionals : all).filter(
    (name) => !cargo(['fuzz', 'run', name, '--', ...options], FUZZ),
  );
  console.log(failed.length > 0 ? `failed: ${failed.join(', ')}` : 'nothing found');
  return failed.length > 0 ? 1 : 0;
}

process.exitCode = main();
