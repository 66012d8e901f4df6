'use strict';

// One run of an example, as a reader of its header comment would start it.

const assert = require('node:assert');
const { execFileSync, spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');
const timers = require('node:timers/promises');

const EXAMPLES = path.join(__dirname, '../../examples');
/** Nothing takes nearly so long; a test that waits for it in vain says what the example had printed. */
const TIMEOUT = 120_000;
const POLL_INTERVAL = 10;

/** One run of an example, in a process group of its own, as a shell would start it. */
class Example {
  /** @type {string[]} */
  #lines = [];
  /** How many lines the waits have gone through: each wait looks at what came after the last one's line. */
  #position = 0;
  /** @type {Set<() => void>} */
  #watchers = new Set();
  #child;
  /** @type {Promise<{ code: number | null, signal: string | null }>} once its output has ended, too */
  exit;

  /**
   * @param {import('node:test').TestContext} t
   * @param {string} name
   * @param {Record<string, string>} [env]
   * @param {{ args?: string[], stdin?: 'ignore' | 'pipe' | number }} [options]
   */
  constructor(t, name, env = {}, { args = [], stdin = 'ignore' } = {}) {
    this.#child = spawn(process.execPath, [path.join(EXAMPLES, name), ...args], {
      detached: true,
      stdio: [stdin, 'pipe', 'pipe'],
      env: { ...process.env, PORT: '0', ...env },
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      const input = /** @type {import('node:stream').Readable} */ (stream);
      readline.createInterface({ input }).on('line', (line) => {
        this.#lines.push(line);
        for (const watcher of this.#watchers) watcher();
      });
    }
    this.exit = once(this.#child, 'close').then(([code, signal]) => ({ code, signal }));
    t.after(() => {
      for (const pid of this.processes()) process.kill(pid, 'SIGKILL');
    });
  }

  /** @returns {number} */
  get pid() {
    return /** @type {number} */ (this.#child.pid);
  }

  /** For an example that was started with 'pipe' as its stdin. */
  get stdin() {
    return /** @type {import('node:stream').Writable} */ (this.#child.stdin);
  }

  /** What it has printed so far, on both streams. */
  get text() {
    return this.#lines.join('\n');
  }

  /**
   * Waits for a line, beginning after the one that the last wait found.
   * @param {RegExp} pattern
   */
  async line(pattern) {
    const index = await this.#waitFor(pattern, () => {
      const found = this.#lines.findIndex((line, i) => i >= this.#position && pattern.test(line));
      return found === -1 ? undefined : found;
    });
    this.#position = index + 1;
    return /** @type {RegExpExecArray} */ (pattern.exec(this.#lines[index]));
  }

  /**
   * Waits until a pattern has been in so many lines, wherever they stand, and gives those.
   * @param {RegExp} pattern
   * @param {number} count
   */
  lines(pattern, count) {
    return this.#waitFor(pattern, () => {
      const matches = this.#lines.map((line) => pattern.exec(line)).filter((match) => match !== null);
      return matches.length >= count ? matches : undefined;
    });
  }

  /**
   * @template T
   * @param {RegExp} pattern
   * @param {() => T | undefined} look
   * @returns {Promise<T>}
   */
  #waitFor(pattern, look) {
    return new Promise((resolve, reject) => {
      const settle = (/** @type {() => void} */ how) => {
        clearTimeout(timer);
        this.#watchers.delete(watcher);
        how();
      };
      const watcher = () => {
        const result = look();
        if (result !== undefined) settle(() => resolve(result));
      };
      const fail = (/** @type {string} */ why) => () =>
        settle(() => reject(new Error(`${why}, no ${pattern} in:\n${this.text}`)));
      const timer = setTimeout(fail('time is up'), TIMEOUT);
      this.#watchers.add(watcher);
      this.exit.then(fail('the example ended'));
      watcher();
    });
  }

  /** What Ctrl-C in a terminal is: SIGINT for the whole process group. */
  pressCtrlC() {
    process.kill(-this.pid, 'SIGINT');
  }

  /** The living processes of the group. */
  processes() {
    return processGroup(this.pid);
  }

  /** Waits until all of them have ended: those that were killed take a moment, and nobody tells us about it. */
  async gone() {
    const end = performance.now() + TIMEOUT;
    while (this.processes().length > 0 && performance.now() < end) await timers.setTimeout(POLL_INTERVAL);
    assert.deepStrictEqual(this.processes(), []);
  }
}

/**
 * @param {number} group
 * @returns {number[]} pids, without those that are only waiting to be reaped
 */
function processGroup(group) {
  if (process.platform !== 'linux') {
    return execFileSync('ps', ['-A', '-o', 'pid=,pgid=,stat='], { encoding: 'utf8' })
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter(([, pgid, state]) => Number(pgid) === group && !state.startsWith('Z'))
      .map(([pid]) => Number(pid));
  }
  return fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && inGroup(name, group))
    .map(Number);
}

/**
 * @param {string} pid
 * @param {number} group
 */
function inGroup(pid, group) {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state, , pgid] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return state !== 'Z' && Number(pgid) === group;
  } catch {
    // It ended between the listing and the look.
    return false;
  }
}

/**
 * A directory that is gone after the test.
 * @param {import('node:test').TestContext} t
 */
function scratchDirectory(t) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-'));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  return directory;
}

module.exports = { Example, POLL_INTERVAL, scratchDirectory };
