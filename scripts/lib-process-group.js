'use strict';

// A child with a process group of its own, and the certainty that nothing of it stays behind.
//
// A test that hangs, or that is killed in the middle, leaves workers and grandchildren. They are found in two ways:
// by the process group (the child leads one), and by a mark in their environment, for those that left the group
// (`detached: true`, setsid). Nothing else is ever signalled.

const fs = require('node:fs');
const os = require('node:os');
const { spawn } = require('node:child_process');

const MARK = 'CORRAL_TEST_MARK';

/** How long a group may take to end by itself once its leader has ended. */
const GRACE_MS = 5000;

/** Groups whose leader was started here and that may still have members. @type {Map<number, string>} */
const live = new Map();

let serial = 0;

/**
 * @typedef {object} Outcome
 * @property {number | null} code
 * @property {NodeJS.Signals | null} signal
 * @property {boolean} timedOut whether it was stopped because its time was over
 * @property {number[]} leftovers processes that had to be killed although their leader had ended
 * @property {string} stdout
 * @property {string} stderr
 * @property {string} output both together, as they came
 * @property {number} milliseconds
 */

/**
 * Processes of a group that are still running. Zombies do not count: where process 1 does not reap, they stay for ever.
 *
 * @param {number} group
 * @param {string} mark
 * @returns {number[]}
 */
function membersOf(group, mark) {
  const members = [];
  /** @type {string[]} */
  let entries;
  try {
    entries = fs.readdirSync('/proc');
  } catch {
    return aliveWithoutProc(group);
  }
  for (const entry of entries) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      // pid (name) state ppid pgrp ...; the name may hold blanks and brackets, so count from its end.
      const stat = fs.readFileSync(`/proc/${entry}/stat`, 'latin1');
      const [state, , pgrp] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (state === 'Z' || state === 'X') continue;
      if (Number(pgrp) === group) {
        members.push(Number(entry));
      } else if (marksOf(fs.readFileSync(`/proc/${entry}/environ`, 'latin1')).includes(mark)) {
        members.push(Number(entry));
      }
    } catch {
      // It ended meanwhile, or belongs to somebody else.
    }
  }
  return members;
}

/**
 * A run within a run adds its mark to that of the outer one, so that the outer one finds those processes, too.
 *
 * @param {string} environ
 */
function marksOf(environ) {
  const entry = environ.split('\0').find((line) => line.startsWith(`${MARK}=`));
  return entry ? entry.slice(MARK.length + 1).split(':') : [];
}

/**
 * The same where there is no /proc (macOS): the group itself stands for its members.
 *
 * @param {number} group
 * @returns {number[]}
 */
function aliveWithoutProc(group) {
  try {
    process.kill(-group, 0);
    return [-group];
  } catch {
    return [];
  }
}

/**
 * @param {number} group
 * @param {string} mark
 * @returns {number[]} what was killed
 */
function killGroup(group, mark) {
  const members = membersOf(group, mark);
  for (const pid of members) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended meanwhile.
    }
  }
  return members;
}

/** Kills whatever the runs in progress have started. For the way out on a signal. */
function killAll() {
  for (const [group, mark] of live) {
    // A killed process may have forked just before, so look again until nothing is left.
    for (let round = 0; round < 10 && killGroup(group, mark).length > 0; round++);
  }
  live.clear();
}

/**
 * Waits until a group is empty.
 *
 * @param {number} group
 * @param {string} mark
 * @returns {Promise<number[]>} those that were still there when the grace was over; they are dead now
 */
async function drain(group, mark) {
  const deadline = Date.now() + GRACE_MS;
  // The kernel has no event for "the last member of a group that is not mine has ended": look again.
  for (;;) {
    if (membersOf(group, mark).length === 0) return [];
    if (Date.now() >= deadline) return killGroup(group, mark);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/**
 * Runs a program to its end, or to the end of its time, and leaves none of its processes behind.
 *
 * @param {string} file
 * @param {string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, timeout: number, uid?: number }} options timeout in milliseconds;
 *   uid serves as group id, too
 * @returns {Promise<Outcome>}
 */
function runGroup(file, args, { cwd, env, timeout, uid }) {
  const mark = `${process.pid}-${Date.now()}-${++serial}`;
  const marks = process.env[MARK] ? `${process.env[MARK]}:${mark}` : mark;
  const started = Date.now();
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      cwd,
      env: { ...(env || process.env), [MARK]: marks },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      uid,
      gid: uid,
    });
    const pid = child.pid;
    if (pid === undefined) {
      child.once('error', reject);
      return;
    }
    live.set(pid, mark);
    let output = '';
    let stdout = '';
    let stderr = '';
    let timedOut = false;
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text;
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      output += text;
      stderr += text;
    });
    const closed = new Promise((done) => child.once('close', done));
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup(pid, mark);
    }, timeout);
    child.once('exit', async (code, signal) => {
      clearTimeout(timer);
      if (timedOut) killGroup(pid, mark);
      const leftovers = timedOut ? [] : await drain(pid, mark);
      // All writers that we know of are gone, so the pipes end; one that got away must not hold us up.
      const giveUp = setTimeout(() => {
        child.stdout.destroy();
        child.stderr.destroy();
      }, GRACE_MS);
      await closed;
      clearTimeout(giveUp);
      live.delete(pid);
      const milliseconds = Date.now() - started;
      resolve({ code, signal, timedOut, leftovers, stdout, stderr, output, milliseconds });
    });
  });
}

/** Lets Ctrl-C, a closed terminal or a supervisor's SIGTERM stop this process without leaving anything behind. */
function killAllOnSignals() {
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    // By exit and not by the signal itself, so that the listeners of 'exit' can remove their files.
    process.once(signal, () => process.exit(128 + os.constants.signals[signal]));
  }
  process.once('exit', killAll);
}

module.exports = { runGroup, killAllOnSignals };
