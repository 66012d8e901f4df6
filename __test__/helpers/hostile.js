'use strict';

// A process under attack, looked at from outside: what it has of memory and descriptors, and whether others are served.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const { next, until } = require('./events');
const { openFiles } = require('./proc');

const FIXTURES = path.join(__dirname, '../fixtures/hostile');

/** How often memory and descriptors are looked at, in milliseconds. */
const LOOK_MS = 50;

/** What a process under attack may have more than before, in MiB and in descriptors. */
const MOST_MEMORY = 64;
const MOST_FILES = 64;
/** So many connections a hostile peer may have of a server's, beside. */
const CONNECTIONS = 36;

/** How many descriptors each process may have: what a worker may use of its primary's depends on it. */
const FILES = 200;
const LIMITED = 'ulimit -n "$1" && shift && exec "$@"';

/**
 * V8 leaves some 100 MiB of what is not needed any more lying about before it looks at it. With these what a process has is near
 * to what it needs, and one that needs more ends.
 */
const FLAGS = ['--expose-gc', '--max-semi-space-size=1', '--max-old-space-size=64'];

/** What a test runner tells its own processes is not for these. */
const ENVIRONMENT = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.startsWith('NODE_')),
);
// Of what a hostile process does somebody may be warned.
ENVIRONMENT.NODE_NO_WARNINGS = '1';
// As with V8: what has been freed is not what a process has.
ENVIRONMENT.MALLOC_ARENA_MAX = '1';
ENVIRONMENT.MALLOC_TRIM_THRESHOLD_ = ENVIRONMENT.MALLOC_MMAP_THRESHOLD_ = `${64 << 10}`;

/** @param {number} milliseconds */
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** A process that answers questions. */
class Asked {
  #child;
  #serial = 0;
  /** @type {Map<number, { resolve: (value: any) => void, reject: (error: Error) => void }>} */
  #waiting = new Map();
  #exited;
  stderr = '';
  /** How it has ended, once it has. @type {string | undefined} */
  outcome;

  /**
   * @param {string} file in fixtures/hostile
   * @param {string} cwd
   */
  constructor(file, cwd) {
    const command = [process.execPath, ...FLAGS, path.join(FIXTURES, file)];
    this.#child = spawn('/bin/sh', ['-c', LIMITED, 'sh', `${FILES}`, ...command], {
      cwd,
      env: ENVIRONMENT,
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text) => {
      this.stderr = (this.stderr + text).slice(-10_000);
    });
    this.#child.on('message', (/** @type {any} */ { id, result }) => {
      this.#waiting.get(id)?.resolve(result);
      this.#waiting.delete(id);
    });
    this.#exited = new Promise((resolve) => {
      // Not 'close', which Node 20 does not tell of a child whose channel was closed here.
      this.#child.once('exit', async (code, signal) => {
        if (!this.#child.stderr?.closed) await next(this.#child.stderr, 'close');
        this.outcome = `${file} has ended: ${signal ?? code}\n${this.stderr}`;
        for (const { reject } of this.#waiting.values()) reject(new Error(this.outcome));
        resolve(0);
      });
    });
  }

  get pid() {
    return /** @type {number} */ (this.#child.pid);
  }

  /**
   * @param {string} question
   * @param {any} [argument]
   * @returns {Promise<any>} rejects if the process ends
   */
  ask(question, argument) {
    return new Promise((resolve, reject) => {
      if (this.outcome !== undefined) return reject(new Error(this.outcome));
      const id = ++this.#serial;
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ id, question, argument }, () => {});
    });
  }

  async stop() {
    if (this.#child.connected) this.#child.disconnect();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 5000);
    await this.#exited;
    clearTimeout(timer);
  }
}

/**
 * @param {number} pid
 * @returns {number} resident memory, in MiB
 */
function residentOf(pid) {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'latin1')) ?? [];
  return Number(kib) / 1024;
}

/** What a process has of memory, in MiB, and of descriptors. @typedef {{ memory: number, files: number }} Footprint */

/** The most that processes have had of memory and descriptors. */
class Watch {
  #timer;
  /** @type {Footprint[]} */
  most;

  /** @param {number[]} pids */
  constructor(pids) {
    this.most = pids.map(() => ({ memory: 0, files: 0 }));
    this.#timer = setInterval(() => {
      for (const [index, pid] of pids.entries()) this.#look(this.most[index], pid);
    }, LOOK_MS);
  }

  /**
   * @param {Footprint} most
   * @param {number} pid
   */
  #look(most, pid) {
    try {
      most.memory = Math.max(most.memory, residentOf(pid));
      most.files = Math.max(most.files, openFiles(pid));
    } catch {
      // It has ended, which is told by other means.
    }
  }

  end() {
    clearInterval(this.#timer);
    return this.most;
  }
}

/**
 * What a process, and those that it is to look after, have when they have nothing to do but their ordinary work.
 *
 * @param {Asked} victim
 * @param {number[]} pids
 * @returns {Promise<Footprint[]>}
 */
async function footprint(victim, pids) {
  for (let round = 0; round < 3; round++) {
    await victim.ask('collect');
    await pause(100);
  }
  return pids.map((pid) => ({ memory: residentOf(pid), files: openFiles(pid) }));
}

/**
 * How honest clients fare beside a process that does nothing but compute: what a hostile one costs by that alone.
 *
 * @param {Asked} clients
 * @param {number} seconds
 */
async function besideBusy(clients, seconds) {
  const busy = spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' });
  try {
    await clients.ask('report');
    await pause(seconds * 1000);
    return await clients.ask('report');
  } finally {
    busy.kill('SIGKILL');
  }
}

/**
 * How honest clients fare beside an honest process that sends ordinary messages as fast as they are taken. It may: a hostile one must
 * not cost much more by what it sends. What it costs to start one again and again counts for both.
 *
 * @param {Asked} victim
 * @param {Asked} clients
 * @param {{ mode: string, milliseconds: number }} sender its serialization, and how long it lives before the next one
 * @param {number} seconds
 */
async function besideSender(victim, clients, sender, seconds) {
  await victim.ask('startSender', sender);
  await clients.ask('report');
  await pause(seconds * 1000);
  const found = await clients.ask('report');
  await victim.ask('stopSender');
  return found;
}

/**
 * @typedef {object} Options
 * @property {'cluster' | 'server'} kind who is attacked: a primary by a worker, or a corral/net server by a peer
 * @property {string} mode a serialization
 * @property {number} seed of the first hostile process; the next has the next one
 * @property {number} seconds for how long
 * @property {number} [before] for how many seconds it is looked at before that
 * @property {number} [milliseconds] the life of one hostile process
 * @property {string[]} [attacks] only these
 */

/**
 * Runs an attack.
 *
 * @param {Options} options
 */
async function underAttack({ kind, mode, seed, seconds, before = 0.5, milliseconds = 1000, attacks = [] }) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-'));
  const victim = new Asked(`${kind}.js`, directory);
  const clients = new Asked('clients.js', directory);
  try {
    await clients.ask('start', await victim.ask('start', { mode }));
    await pause(before * 1000);
    const quiet = await clients.ask('report');
    const busy = await besideBusy(clients, before);
    const sender = await besideSender(victim, clients, { mode, milliseconds }, before);
    // The honest workers of a primary are attacked as well.
    const pids = [victim.pid, ...(await victim.ask('others'))];
    const first = await footprint(victim, pids);
    await Promise.all([clients.ask('report'), victim.ask('report')]);
    const watch = new Watch(pids);
    await victim.ask('attack', { mode, seed, milliseconds, attacks });
    await pause(seconds * 1000);
    await victim.ask('calm');
    const most = watch.end();
    // Everybody is answered some time.
    for (const asked of [clients, victim])
      await until(async () => (await asked.ask('longestWait')) < LOOK_MS);
    const under = await clients.ask('report');
    const report = await victim.ask('report');
    const last = await footprint(victim, pids);
    await victim.ask('end');
    return {
      kind,
      clients: { quiet, busy, sender, under },
      report,
      first,
      most,
      last,
      stderr: victim.stderr,
    };
  } finally {
    await Promise.all([victim.stop(), clients.stop()]);
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * What must not be, of all that an attack has shown.
 *
 * @param {Awaited<ReturnType<typeof underAttack>>} result
 * @param {number} [mostMemory] that a process may have more than before, in MiB
 * @returns {string[]}
 */
function damageOf({ kind, clients, report, first, most, last, stderr }, mostMemory = MOST_MEMORY) {
  /** @type {string[]} */
  const damage = [...report.faults];
  const mostFiles = kind === 'server' ? MOST_FILES + CONNECTIONS : MOST_FILES;
  for (const [failure, count] of Object.entries(clients.under.failures)) {
    damage.push(`${count} honest clients were not answered: ${failure}`);
  }
  for (const [when, found] of /** @type {const} */ ([
    ['meanwhile', most],
    ['afterwards', last],
  ])) {
    for (const [index, { memory, files }] of found.entries()) {
      const who = index === 0 ? 'the process that was attacked' : `honest worker ${index}`;
      const [more, others] = [memory - first[index].memory, files - first[index].files];
      if (more > mostMemory) damage.push(`${who} had ${Math.round(more)} MiB more than before ${when}`);
      if (others > mostFiles) damage.push(`${who} had ${others} descriptors more than before ${when}`);
    }
  }
  if (stderr !== '') damage.push(`somebody has complained: ${stderr}`);
  return damage;
}

module.exports = { damageOf, underAttack };
