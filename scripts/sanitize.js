#!/usr/bin/env node
'use strict';

// Runs the Rust tests under ThreadSanitizer, and then under AddressSanitizer, which sees leaks as well.
//
//   node scripts/sanitize.js [thread | address]
//
// Both ask for a nightly toolchain; a stable one has them as well, if it is told that this is meant (RUSTC_BOOTSTRAP). The standard
// library stays as it is: what that hides, or makes up, scripts/tsan-suppressions.txt says.

const { spawnSync } = require('node:child_process');
const path = require('node:path');

const ROOT = path.resolve(__dirname, '..');
const SANITIZERS = ['thread', 'address'];

/** Of a sanitizer, the tests must be built for a target, or what runs while they are built would have it too. */
const TARGETS = { x64: 'x86_64-unknown-linux-gnu', arm64: 'aarch64-unknown-linux-gnu' };

/** @param {string} sanitizer @returns {boolean} whether it has found nothing */
function run(sanitizer) {
  const target = TARGETS[/** @type {keyof typeof TARGETS} */ (process.arch)];
  const env = {
    ...process.env,
    RUSTC_BOOTSTRAP: '1',
    RUSTFLAGS: `-Zsanitizer=${sanitizer} -Cunsafe-allow-abi-mismatch=sanitizer`,
    CARGO_TARGET_DIR: path.join(ROOT, 'target', `sanitize-${sanitizer}`),
    TSAN_OPTIONS: `suppressions=${path.join(__dirname, 'tsan-suppressions.txt')}`,
  };
  const args = ['test', '--workspace', '--no-default-features', '--lib', '--target', target];
  return spawnSync('cargo', args, { cwd: ROOT, env, stdio: 'inherit' }).status === 0;
}

function main() {
  const wanted = process.argv.slice(2);
  if (process.platform !== 'linux' || wanted.some((name) => !SANITIZERS.includes(name))) {
    console.error('usage, on Linux: node scripts/sanitize.js [thread | address]');
    return 2;
  }
  const failed = (wanted.length > 0 ? wanted : SANITIZERS).filter((name) => !run(name));
  console.log(failed.length > 0 ? `failed: ${failed.join(', ')}` : 'nothing found');
  return failed.length > 0 ? 1 : 0;
}

process.exitCode = main();
