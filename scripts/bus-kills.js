'use strict';

// Counts what queues of corral/bus lose: four consumers and two producers, of which one is killed by SIGKILL every 200 ms at random, and
// again and again the process that has the engine: whoever serves the file, or redis-server itself. Then it is looked at
// what each has noted: whether every message that was kept was worked on, how often one was twice, and in which order.
//
//   node scripts/bus-kills.js [--engine file|redis] [--jobs 100000] [--every 200] [--engine-kills 20] [--appendfsync always]

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');
const { parseArgs } = require('node:util');
const { pathToFileURL } = require('node:url');
const { RedisServer } = require('../__test__/helpers/redis');
const { connect } = require('../bus');

const PART = path.join(__dirname, 'lib-bus-part.js');
const PRODUCERS = ['producer-0', 'producer-1'];
const CONSUMERS = ['consumer-0', 'consumer-1', 'consumer-2', 'consumer-3'];

/** Numbers of one producer are below this, those of the next one from there on. */
const RANGE = 10_000_000;

/** How long it may take until all is worked on when nobody is killed any more, in milliseconds. */
const PATIENCE = 300_000;

/** @typedef {{ lost: number, kept: number, worked: number, twice: number, underWay: number, disorder: number, failed: number }} Counts */

const pause = (/** @type {number} */ milliseconds) =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

/** @param {string} name of a link, or of nothing */
function linkOf(name) {
  try {
    return fs.readlinkSync(name);
  } catch {
    return '';
  }
}

/** A process that is killed and started again. */
class Part {
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #child;
  #lives = 0;

  /** @param {string} name @param {string} url @param {string} log */
  constructor(name, url, log) {
    this.name = name;
    this.url = url;
    this.log = log;
  }

  /** @param {number} [first] number that a producer sends */
  start(first = 0) {
    const [role] = this.name.split('-');
    const args = [PART, role, this.url, `${this.name}.${this.#lives++}`, this.log, String(first)];
    this.#child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  }

  async kill() {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
  }

  /** @param {string} file @returns {boolean} whether it has the file open: it serves it */
  serves(file) {
    try {
      const numbers = fs.readdirSync(`/proc/${this.#child?.pid}/fd`);
      return numbers.some((number) => linkOf(`/proc/${this.#child?.pid}/fd/${number}`) === file);
    } catch {
      return false;
    }
  }
}

/** What was noted so far, as it grows. */
class Log {
  kept = 0;
  /** The next number of each producer. @type {Record<string, number>} */
  next = {};
  #at = 0;
  #rest = '';

  /** @param {string} file */
  constructor(file) {
    this.file = file;
    fs.writeFileSync(file, '');
    for (const [index, name] of PRODUCERS.entries()) this.next[name] = RANGE * index;
  }

  read() {
    const size = fs.statSync(this.file).size;
    const bytes = Buffer.alloc(size - this.#at);
    const fd = fs.openSync(this.file, 'r');
    fs.readSync(fd, bytes, 0, bytes.length, this.#at);
    fs.closeSync(fd);
    this.#at = size;
    const lines = (this.#rest + bytes.toString()).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      const [who, what, number] = line.split(' ');
      if (what === 'kept') this.kept += 1;
      if (what !== 'send') continue;
      const [name] = who.split('.');
      // What was on its way is not sent again under its number.
      this.next[name] = Math.max(this.next[name], Number(number) + 1);
    }
  }

  /** @returns {Promise<Counts>} */
  async count() {
    const kept = new Set();
    /** How often each was worked on. @type {Map<string, number>} */
    const works = new Map();
    /** What each life of a consumer has worked on and not acknowledged. @type {Map<string, Set<string>>} */
    const open = new Map();
    /** The last of each group. @type {Map<string, number>} */
    const last = new Map();
    let [disorder, failed] = [0, 0];
    for await (const line of readline.createInterface({ input: fs.createReadStream(this.file) })) {
      const [who, what, number, group] = line.split(' ');
      if (what === 'kept') kept.add(number);
      else if (what === 'failed') failed += 1;
      else if (what === 'acked') open.get(who)?.delete(number);
      else if (what === 'done') {
        const times = works.get(number) ?? 0;
        works.set(number, times + 1);
        open.set(who, (open.get(who) ?? new Set()).add(number));
        if (times > 0) continue;
        if (Number(number) < (last.get(group) ?? -1)) disorder += 1;
        else last.set(group, Number(number));
      }
    }
    const all = [...works.values()].reduce((sum, times) => sum + times, 0);
    return {
      kept: kept.size,
      lost: [...kept].filter((number) => !works.has(number)).length,
      worked: works.size,
      twice: all - works.size,
      underWay: [...open.values()].reduce((sum, numbers) => sum + numbers.size, 0),
      disorder,
      failed,
    };
  }
}

/**
 * @param {{ engine: string, jobs: number, every: number, engineKills: number, appendfsync: string }} options
 * @returns {Promise<Counts & { kills: number, engineKills: number, seconds: number }>}
 */
async function run({ engine, jobs, every, engineKills, appendfsync }) {
  const directory = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'corral-kills-')));
  const file = path.join(directory, 'bus.db');
  const settings = { appendonly: 'yes', appendfsync };
  const redis = engine === 'redis' ? await new RedisServer(settings).start() : undefined;
  const url = redis?.url ?? pathToFileURL(file).href;
  const log = new Log(path.join(directory, 'log'));
  // Of a file somebody serves at first who does nothing else.
  const names = [...(redis === undefined ? ['idle-0'] : []), ...PRODUCERS, ...CONSUMERS];
  const parts = names.map((name) => new Part(name, url, log.file));
  const producers = parts.filter(({ name }) => PRODUCERS.includes(name));
  const launch = (/** @type {Part} */ part) => part.start(log.next[part.name]);
  const start = performance.now();
  let [kills, killsOfEngine] = [0, 0];
  try {
    for (const part of parts) launch(part);
    while (log.kept < jobs || killsOfEngine < engineKills) {
      await pause(every);
      log.read();
      // Evenly over all of it.
      const isDue =
        killsOfEngine < engineKills && log.kept >= (jobs / (engineKills + 1)) * (killsOfEngine + 1);
      if (isDue && redis !== undefined) {
        await redis.stop('SIGKILL');
        await redis.start();
        killsOfEngine += 1;
        continue;
      }
      const serving = isDue ? parts.find((part) => part.serves(file)) : undefined;
      const part = serving ?? parts[Math.floor(Math.random() * parts.length)];
      if (serving !== undefined) killsOfEngine += 1;
      await part.kill();
      kills += 1;
      log.read();
      launch(part);
    }
    await Promise.all(producers.map((part) => part.kill()));
    const bus = await connect(url, { durability: 'process' });
    await bus.queue('work').drain({ timeout: PATIENCE });
    await bus.close();
    await Promise.all(parts.map((part) => part.kill()));
    const seconds = (performance.now() - start) / 1000;
    return { ...(await log.count()), kills, engineKills: killsOfEngine, seconds };
  } finally {
    await Promise.all(parts.map((part) => part.kill()));
    await redis?.remove();
    fs.rmSync(directory, { recursive: true });
  }
}

async function main() {
  const { values } = parseArgs({
    options: {
      engine: { type: 'string', default: 'file' },
      jobs: { type: 'string', default: '100000' },
      every: { type: 'string', default: '200' },
      'engine-kills': { type: 'string', default: '20' },
      appendfsync: { type: 'string', default: 'always' },
    },
  });
  const result = await run({
    engine: values.engine,
    jobs: Number(values.jobs),
    every: Number(values.every),
    engineKills: Number(values['engine-kills']),
    appendfsync: values.appendfsync,
  });
  const { kept, lost, worked, twice, underWay, disorder, failed, kills, engineKills, seconds } = result;
  console.log(
    `${values.engine}: ${kept} kept, ${worked} worked on, ${lost} lost, ${twice} twice (${underWay} were under way at a kill), ` +
      `${disorder} out of order within their group, ${failed} acknowledgements refused; ` +
      `${kills} processes killed, ${engineKills} times the engine's, in ${seconds.toFixed(0)} s`,
  );
  if (lost > 0 || disorder > 0 || twice > underWay) process.exitCode = 1;
}

main();
