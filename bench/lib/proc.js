'use strict';

// What the kernel says about another process, read from /proc: from outside, so that a process which is too
// busy to answer is measured as well. Where there is no /proc (macOS) everything is NaN and the tables show
// "n/a".

const { execFileSync } = require('node:child_process');
const { readdirSync, readFileSync } = require('node:fs');

/** @type {number | undefined} */
let ticksPerSecond;

function ticks() {
  ticksPerSecond ??= Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
  return ticksPerSecond;
}

/**
 * The fields of a stat file from the third on; the second is the name, which may hold blanks and brackets.
 * @param {string} path
 */
function statFields(path) {
  const text = readFileSync(path, 'utf8');
  return {
    name: text.slice(text.indexOf('(') + 1, text.lastIndexOf(')')),
    fields: text.slice(text.lastIndexOf(')') + 2).split(' '),
  };
}

/** @param {string[]} fields as from statFields */
function cpuMicroseconds(fields) {
  return ((Number(fields[11]) + Number(fields[12])) / ticks()) * 1e6;
}

/**
 * User and system CPU time of all threads of a process, also of those that have ended, in microseconds. The
 * kernel counts it to one tick, 10 ms as a rule: compare over seconds.
 * @param {number} pid
 */
function cpuTime(pid) {
  try {
    return cpuMicroseconds(statFields(`/proc/${pid}/stat`).fields);
  } catch {
    return NaN;
  }
}

/**
 * As cpuTime, of the threads that live, and exactly: the kernel's clock ticks miss most of what wakes for less than one, and
 * charge a whole one for what wakes with them.
 * @param {number} pid
 */
function runTime(pid) {
  try {
    const tasks = readdirSync(`/proc/${pid}/task`);
    const nanoseconds = (/** @type {string} */ task) =>
      Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
    return tasks.reduce((sum, task) => sum + nanoseconds(task), 0) / 1000;
  } catch {
    return NaN;
  }
}

/**
 * CPU time in microseconds by thread name, for those threads that live.
 * @param {number} pid
 * @returns {Map<string, number>}
 */
function threadCpuTime(pid) {
  /** @type {Map<string, number>} */
  const byName = new Map();
  try {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      const { name, fields } = statFields(`/proc/${pid}/task/${task}/stat`);
      byName.set(name, (byName.get(name) ?? 0) + cpuMicroseconds(fields));
    }
  } catch {
    // Not Linux, or a thread that ended while we read: what was read so far is what there is.
  }
  return byName;
}

/**
 * What all processors have done since the machine started, in ticks; NaN where there is no /proc.
 * @returns {{ busy: number, total: number }}
 */
function processorTicks() {
  try {
    const [, ...fields] = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0].split(/ +/);
    // The last two, guests, are in the first two already.
    const ticks = fields.slice(0, 8).map(Number);
    const total = ticks.reduce((sum, count) => sum + count);
    const [, , , idle, waiting] = ticks;
    return { busy: total - idle - waiting, total };
  } catch {
    return { busy: NaN, total: NaN };
  }
}

/**
 * How many file descriptors a process has open.
 * @param {number} pid
 */
function fdCount(pid) {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return NaN;
  }
}

/**
 * Resident memory in MiB.
 * @param {number} pid
 */
function residentMiB(pid) {
  try {
    const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return match ? Number(match[1]) / 1024 : NaN;
  } catch {
    return NaN;
  }
}

/**
 * @typedef {object} Memory
 * @property {number} resident in KiB, with pages of files that others have as well, and that the kernel may take at any time
 * @property {number} own in KiB: private pages that the process has written
 */

/**
 * @param {number} pid
 * @returns {Memory}
 */
function memoryKiB(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const of = (/** @type {string} */ name) =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1]);
    return { resident: of('Rss'), own: of('Private_Dirty') };
  } catch {
    return { resident: NaN, own: NaN };
  }
}

/**
 * Whether a process exists and is more than a zombie.
 * @param {number} pid
 */
function isAlive(pid) {
  try {
    return statFields(`/proc/${pid}/stat`).fields[0] !== 'Z';
  } catch {
    return false;
  }
}

module.exports = {
  cpuTime,
  fdCount,
  isAlive,
  memoryKiB,
  processorTicks,
  residentMiB,
  runTime,
  threadCpuTime,
};
