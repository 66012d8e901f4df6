'use strict';

// A service under random orders of all that happens to one: workers that are killed, stopped and continued, reloads, scalings, upgrades, and
// starts anew, while clients ask. Between them it is looked whether anything stays behind: descriptors, memory, processes. Ten minutes unless it
// is told otherwise; __test__/cli/soak.test.js runs some seconds of it.
//
//   node scripts/soak.js [--seconds 600] [--seed 1]

const { execFile, spawn } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { parseArgs } = require('node:util');
const { freePort } = require('./lib-free-port');

const root = path.dirname(__dirname);
const CORRAL = path.join(root, 'cli/corral.js');
const HOST = '127.0.0.1';

/** How many workers there are whenever it is looked. */
const SIZE = 2;
/** After how many things that have happened it is looked. */
const LOOK_AFTER = 8;
/** How many descriptors more than at the first look the primary may have: an upgrade leaves it one listening socket twice. */
const MORE_DESCRIPTORS = 4;
/** And how much more resident memory, in bytes. A heap grows to what it needs once. */
const MORE_MEMORY = 80 * 2 ** 20;
/** How long something may take that has no event, in milliseconds. */
const PATIENCE = 60_000;
/** How long a request may take, in milliseconds: a stopped worker keeps those that it has begun until it goes on. */
const ANSWER_WITHIN = 30_000;

const APP = `
  const http = require('node:http');
  http.createServer((request, response) => setTimeout(() => response.end('ok'), 5)).listen(process.env.PORT, '${HOST}');
`;

/** @param {number} seed @returns {(below: number) => number} the same numbers for the same seed */
function randomFrom(seed) {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % below;
  };
}

/** @param {number} milliseconds */
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/**
 * @param {string} what
 * @param {() => unknown} condition or a promise of it
 */
async function until(what, condition) {
  for (const end = Date.now() + PATIENCE; !(await condition()); await pause(20)) {
    if (Date.now() > end) throw new Error(`in ${PATIENCE} ms it has not come about that ${what}`);
  }
}

/** @param {string} marker in the environment @returns {number[]} the processes that have it */
function processesWith(marker) {
  return fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return fs.readFileSync(`/proc/${pid}/environ`, 'latin1').includes(marker);
      } catch {
        // It has ended, or is somebody else's.
        return false;
      }
    });
}

/** @param {number} pid */
function holdings(pid) {
  const rss = /^VmRSS:\s+(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'latin1'));
  return { descriptors: fs.readdirSync(`/proc/${pid}/fd`).length, memory: Number(rss?.[1]) * 1024 };
}

/** Clients on new connections and on kept ones. */
class Clients {
  #isOn = true;
  #port;
  /** @type {Promise<void>[]} */
  #all = [];
  #agent = new http.Agent({ keepAlive: true, maxSockets: 2 });
  answered = 0;
  /** How often each code came. @type {Record<string, number>} */
  failed = {};
  /** The same by what had happened last. @type {Record<string, Record<string, number>>} */
  failedDuring = {};
  /** What happens. */
  during = 'start';

  /** @param {number} port */
  constructor(port) {
    this.#port = port;
    for (const agent of [this.#agent, this.#agent, false]) this.#all.push(this.#go(agent));
  }

  /** @param {any} agent */
  async #go(agent) {
    while (this.#isOn) {
      const code = await this.#ask(agent);
      if (code === '') this.answered++;
      else {
        this.failed[code] = (this.failed[code] ?? 0) + 1;
        this.failedDuring[this.during] ??= {};
        const during = this.failedDuring[this.during];
        during[code] = (during[code] ?? 0) + 1;
        await pause(10);
      }
    }
  }

  /** @param {any} agent @returns {Promise<string>} empty if there was an answer */
  #ask(agent) {
    return new Promise((resolve) => {
      const request = http.get(
        { port: this.#port, host: HOST, agent, timeout: ANSWER_WITHIN },
        (response) => {
          response.resume();
          response.once('end', () => resolve(''));
          response.once('error', (/** @type {any} */ { code }) => resolve(`${code}`));
        },
      );
      request.once('timeout', () => request.destroy(Object.assign(new Error(), { code: 'HUNG' })));
      request.once('error', (/** @type {any} */ { code }) => resolve(`${code}`));
    });
  }

  async end() {
    this.#isOn = false;
    await Promise.all(this.#all);
    this.#agent.destroy();
  }
}

class Soak {
  #random;
  #env;
  #directory;
  #marker;
  /** How often each thing has happened. @type {Record<string, number>} */
  happened = {};

  /**
   * @param {number} seed
   * @param {string} directory of its own
   * @param {number} port
   */
  constructor(seed, directory, port) {
    this.#random = randomFrom(seed);
    this.#directory = directory;
    this.#marker = `CORRAL_SOAK=${directory}`;
    this.#env = { ...process.env, XDG_RUNTIME_DIR: directory, PORT: `${port}`, CORRAL_SOAK: directory };
  }

  /** @returns {number[]} */
  processes() {
    return processesWith(this.#marker);
  }

  async start() {
    const words = ['run', '-w', `${SIZE}`, '--min-uptime', '50ms', '--idle', '100ms', 'app.js'];
    const running = spawn(process.execPath, [CORRAL, ...words], {
      cwd: this.#directory,
      env: this.#env,
      stdio: 'ignore',
    });
    running.unref();
    await this.#settled();
  }

  /**
   * @param {...string} words
   * @returns {Promise<{ code: number, stdout: string }>}
   */
  corral(...words) {
    return new Promise((resolve) => {
      const options = { cwd: this.#directory, env: { ...this.#env, CORRAL_SOAK: '' } };
      execFile(process.execPath, [CORRAL, ...words], options, (error, stdout) => {
        resolve({ code: error === null ? 0 : Number(error.code), stdout });
      });
    });
  }

  /** @returns {Promise<any>} undefined if nobody answers */
  async status() {
    const { code, stdout } = await this.corral('status', '--json');
    return code === 0 ? JSON.parse(stdout) : undefined;
  }

  /** As many workers as there are to be are ready, and nobody else is there. */
  async #settled() {
    await until('all workers are ready', async () => {
      const status = await this.status();
      const workers = status?.workers ?? [];
      const isReady = workers.every((/** @type {any} */ { state }) => state === 'ready');
      return status?.state === 'running' && isReady && workers.length === status.size;
    });
  }

  /** @returns {Promise<{ pid: number, descriptors: number, memory: number }>} */
  async look() {
    await this.corral('scale', `${SIZE}`);
    await this.#settled();
    await until('no process is there that is not wanted', () => this.processes().length === 1 + SIZE);
    const { pid } = await this.status();
    return { pid, ...holdings(pid) };
  }

  /** @param {number} slot */
  async #stopForAWhile(slot) {
    const { code, stdout } = await this.corral('kill', `${slot}`, '--signal', 'SIGSTOP', '--json');
    if (code !== 0) return;
    await pause(this.#random(300));
    // That one, also if another has its place by then.
    const { pid: stopped } = JSON.parse(stdout);
    if (this.processes().includes(stopped)) process.kill(stopped, 'SIGCONT');
  }

  /** @param {(what: string) => void} tell */
  async happen(tell) {
    const all = [
      'kill',
      'terminate',
      'stop a worker',
      'reload',
      'two reloads',
      'scale',
      'signals',
      'upgrade',
      'start anew',
    ];
    const what = all[this.#random(all.length)];
    this.happened[what] = (this.happened[what] ?? 0) + 1;
    tell(what);
    const status = await this.status();
    const { workers, pid } = status;
    const one = workers[this.#random(workers.length)];
    switch (what) {
      case 'kill':
      case 'terminate':
        await this.corral('kill', `${one.slot}`, '--signal', what === 'kill' ? 'SIGKILL' : 'SIGTERM');
        break;
      case 'stop a worker':
        await this.#stopForAWhile(one.slot);
        break;
      case 'reload':
        await this.corral('reload');
        break;
      case 'two reloads':
        await Promise.all([this.corral('reload'), this.corral('reload')]);
        break;
      case 'scale':
        await this.corral('scale', `${1 + this.#random(4)}`);
        break;
      case 'signals':
        for (const signal of /** @type {const} */ (['SIGTTIN', 'SIGHUP', 'SIGTTOU']))
          process.kill(pid, signal);
        break;
      case 'upgrade':
        await this.#settled();
        if ((await this.corral('upgrade')).code !== 0) throw new Error('an upgrade has failed');
        await until('the old one has ended', () => !this.processes().includes(pid));
        break;
      default:
        await this.corral('stop');
        await until('nothing is left', () => this.processes().length === 0);
        await this.start();
    }
  }

  async end() {
    await this.corral('stop');
    await until('nothing is left', () => this.processes().length === 0);
  }
}

/**
 * @param {{ seconds: number, seed: number }} options
 * @param {(line: string) => void} say
 * @returns {Promise<{ answered: number, failed: Record<string, number>, failedDuring: Record<string, Record<string, number>>, happened: Record<string, number>, first: any, last: any }>}
 *   rejects if anything stays behind
 */
async function soak({ seconds, seed }, say) {
  const directory = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'corral-soak-')));
  fs.chmodSync(directory, 0o700);
  fs.writeFileSync(path.join(directory, 'app.js'), APP);
  const port = await freePort();
  const it = new Soak(seed, directory, port);
  /** @type {Clients | undefined} */
  let clients;
  try {
    await it.start();
    const asking = new Clients(port);
    clients = asking;
    const tell = (/** @type {string} */ what) => {
      asking.during = what;
    };
    const first = await it.look();
    let last = first;
    for (const end = Date.now() + seconds * 1000; Date.now() < end; ) {
      for (let i = 0; i < LOOK_AFTER && Date.now() < end; i++) await it.happen(tell);
      last = await it.look();
      say(
        `${JSON.stringify(it.happened)} ${JSON.stringify(last)} ${clients.answered} answered ${JSON.stringify(clients.failed)}`,
      );
      if (last.descriptors > first.descriptors + MORE_DESCRIPTORS)
        throw new Error(`the primary had ${first.descriptors} descriptors, and has ${last.descriptors}`);
      if (last.memory > first.memory + MORE_MEMORY)
        throw new Error(`the primary had ${first.memory} bytes of memory, and has ${last.memory}`);
    }
    await clients.end();
    await it.end();
    const { answered, failed, failedDuring } = clients;
    return { answered, failed, failedDuring, happened: it.happened, first, last };
  } finally {
    await clients?.end();
    for (const pid of it.processes()) process.kill(pid, 'SIGKILL');
    fs.rmSync(directory, { recursive: true });
  }
}

async function main() {
  const { values } = parseArgs({
    options: { seconds: { type: 'string', default: '600' }, seed: { type: 'string', default: '1' } },
  });
  const outcome = await soak({ seconds: Number(values.seconds), seed: Number(values.seed) }, console.log);
  console.log(JSON.stringify(outcome, null, 2));
}

if (require.main === module) {
  main().catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
}

module.exports = { soak };
