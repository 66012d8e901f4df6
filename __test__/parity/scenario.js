'use strict';

// What the programs of the parity test are made of.
//
// A program is a table of cases; run() executes them one after the other in one primary. A case has a primary side and
// a worker side. Each side logs what it sees into lanes: a lane is a list whose order matters, while the order between
// lanes is free. Everything that one worker does to the primary is one lane; what the worker sees is another.

const fs = require('node:fs');
const path = require('node:path');
const { once } = require('node:events');
const { spawn } = require('node:child_process');
const { alias, forgetPorts, show } = require('./show.js');

const cluster = require(process.env.PARITY_MODULE || 'node:cluster');

const DIRECTORY = process.env.PARITY_TRACE;

/** Where programs put sockets and files. Short, because of the limit on the length of socket paths. */
const SCRATCH = process.env.PARITY_SCRATCH;

/** Enough for any case on a busy machine; a case that takes longer is cut off and the trace says so. */
const CASE_TIMEOUT_MS = 60_000;

for (const [value, name] of [
  [process.execPath, 'node'],
  [DIRECTORY, 'trace'],
  [SCRATCH, 'scratch'],
  [path.resolve(__dirname, '../..'), 'repo'],
])
  alias(value, String(name));

/**
 * @param {string} lane
 * @param {string} event
 * @param {unknown[]} values
 */
function write(lane, event, values) {
  const line = `${JSON.stringify([event, ...values.map((value) => show(value))])}\n`;
  if (DIRECTORY) fs.appendFileSync(path.join(DIRECTORY, `${lane.replaceAll('/', '!')}.jsonl`), line);
  else process.stderr.write(`${lane}: ${line}`);
}

/** Messages in the order in which they came, for who asks for them one by one. */
class Inbox {
  /** @param {import('node:events').EventEmitter} emitter */
  constructor(emitter) {
    /** @type {unknown[]} */
    this.messages = [];
    /** @type {((message: unknown) => void)[]} */
    this.waiting = [];
    emitter.on('message', (message, handle) => {
      const item = handle ? [message, handle] : message;
      const resolve = this.waiting.shift();
      if (resolve) resolve(item);
      else this.messages.push(item);
    });
  }

  next() {
    if (this.messages.length > 0) return Promise.resolve(this.messages.shift());
    return new Promise((resolve) => this.waiting.push(resolve));
  }
}

/** What a side of a case works with. */
class Trace {
  /** @param {string} caseName @param {string} side */
  constructor(caseName, side) {
    this.caseName = caseName;
    this.lane = `${caseName}/${side}`;
    /** @type {Promise<unknown>[]} */
    this.ends = [];
    /** @type {import('node:cluster').Worker[]} */
    this.workers = [];
    /** @type {Map<import('node:cluster').Worker, Inbox>} */
    this.inboxes = new Map();
    this.count = 0;
  }

  /** @param {string} event @param {...unknown} values */
  log(event, ...values) {
    write(this.lane, event, values);
  }

  /**
   * A logger for a lane of its own.
   *
   * @param {string} name one with '~' in front is compared without regard to order
   */
  to(name) {
    return (/** @type {string} */ event, /** @type {unknown[]} */ ...values) => {
      write(`${this.caseName}/${name}`, event, values);
    };
  }

  /**
   * Forks a worker for this case and logs its life. The case ends when the worker has.
   *
   * @param {NodeJS.ProcessEnv & { quiet?: boolean }} [env]
   */
  fork(env = {}) {
    const number = ++this.count;
    const { quiet, ...rest } = env;
    const marks = { PARITY_CASE: this.caseName, PARITY_SIDE: `worker-${number}` };
    const worker = cluster.fork({ ...marks, ...rest });
    this.workers.push(worker);
    this.inboxes.set(worker, new Inbox(worker));
    if (!quiet) follow(worker, this.to(`of-worker-${number}`));
    this.ends.push(
      new Promise((resolve) => {
        let missing = 2;
        const one = () => {
          if (--missing > 0) return;
          // The last listeners of the same event may still be to come.
          process.nextTick(() => {
            if (!quiet) this.to(`of-worker-${number}`)('at the end', stateOf(worker, 'end'));
            resolve(undefined);
          });
        };
        worker.once('exit', one);
        worker.once('disconnect', one);
      }),
    );
    return worker;
  }

  /**
   * The next message of a worker that was not yet asked for. Unlike `once` it misses none.
   *
   * @param {import('node:cluster').Worker} worker
   * @returns {Promise<any>} with its handle, if there is one, as [message, handle]
   */
  message(worker) {
    return /** @type {Inbox} */ (this.inboxes.get(worker)).next();
  }

  /** Waits until all workers of this case have disconnected and exited. */
  async ended() {
    await Promise.all(this.ends);
  }
}

/**
 * The state that a program sees of a worker.
 *
 * @param {import('node:cluster').Worker} worker
 * @param {string} [event] the one that is being emitted
 */
function stateOf(worker, event) {
  const state = {
    dead: worker.isDead(),
    connected: worker.isConnected(),
    exitedAfterDisconnect: worker.exitedAfterDisconnect,
    state: worker.state,
    listed: cluster.workers[worker.id] === worker,
  };
  // Whether the end of the channel or that of the process is seen first is left to chance by Node, and with it these.
  if (event === 'disconnect') return { ...state, dead: undefined, listed: undefined };
  if (event === 'exit') return { ...state, connected: undefined, listed: undefined };
  if (event === 'end') return { ...state, state: undefined };
  return state;
}

const WORKER_EVENTS = ['online', 'listening', 'message', 'disconnect', 'exit', 'error'];
const CLUSTER_EVENTS = ['fork', 'online', 'listening', 'message', 'disconnect', 'exit'];

/** Loggers by worker id, for the events on `cluster`. @type {Map<number, (...values: any[]) => void>} */
const followed = new Map();

/**
 * Logs each event of a worker: its arguments, `this`, and the worker's state at that moment.
 *
 * @param {import('node:cluster').Worker} worker
 * @param {(event: string, ...values: unknown[]) => void} log
 */
function follow(worker, log) {
  if (followed.size === 0) followCluster();
  followed.set(worker.id, log);
  for (const event of WORKER_EVENTS) {
    worker.on(event, function (...args) {
      log(`worker ${event}`, args, { this: this === worker }, stateOf(worker, event));
    });
  }
}

function followCluster() {
  for (const event of CLUSTER_EVENTS) {
    cluster.on(event, function (worker, ...args) {
      followed.get(worker?.id)?.(
        `cluster ${event}`,
        args,
        { this: this === cluster },
        stateOf(worker, event),
      );
    });
  }
}

/**
 * @typedef {object} Case
 * @property {(t: Trace) => unknown} [primary] default: fork one worker
 * @property {(t: Trace) => unknown} [worker]
 */

/**
 * Runs the cases of a program; in a worker the worker side of the one that it was forked for.
 *
 * @param {Record<string, Case>} cases
 */
async function run(cases) {
  if (!process.env.PARITY_CASE) return runPrimary(cases);
  const name = process.env.PARITY_CASE;
  await cases[name].worker?.(new Trace(name, process.env.PARITY_SIDE));
}

/** @param {Record<string, Case>} cases */
async function runPrimary(cases) {
  const serialization = process.env.PARITY_SERIALIZATION;
  if (serialization) cluster.setupPrimary({ serialization });
  const wanted = process.env.PARITY_ONLY?.split(',');
  let broken = false;
  for (const [name, { primary = (t) => t.fork() }] of Object.entries(cases)) {
    if (wanted && !wanted.includes(name)) continue;
    const t = new Trace(name, 'primary');
    forgetPorts();
    let timer;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, CASE_TIMEOUT_MS, 'late');
    });
    const body = async () => {
      await primary(t);
      await t.ended();
    };
    // An 'error' that no case listens for must not end the cases that follow it.
    const result = await Promise.race([body().catch((error) => error), late]);
    clearTimeout(timer);
    broken ||= result !== undefined;
    if (result === 'late') {
      t.log('case took too long');
      for (const worker of t.workers) worker.process.kill('SIGKILL');
    } else if (result) {
      t.log('case failed', result);
    }
  }
  // What a broken case left behind could keep the program, and the test, waiting.
  if (broken) process.exit(1);
  // Now the program ends by itself, or the test fails; then this tells what kept it.
  setTimeout(() => console.error('still active:', process.getActiveResourcesInfo()), 3000).unref();
}

/**
 * Starts this program again, as a primary of its own, with only `name`'s code: for what concerns a whole process, such
 * as what keeps it alive. Its standard output and the way it ends are the trace.
 *
 * @param {Trace} t
 * @param {string} name
 * @param {{ env?: NodeJS.ProcessEnv, execArgv?: string[], stdio?: any[] }} [options] stdio from 3 on
 */
async function runAlone(t, name, { env = {}, execArgv = [], stdio = [] } = {}) {
  const child = spawn(process.execPath, [...execArgv, process.argv[1]], {
    env: { ...process.env, PARITY_ALONE: name, ...env },
    stdio: ['ignore', 'pipe', 'inherit', ...stdio],
  });
  const output = [];
  child.stdout.setEncoding('utf8').on('data', (text) => output.push(text));
  const [code, signal] = await once(child, 'close');
  t.to(name)('ended', code, signal, output.join('').split('\n'));
}

module.exports = { Inbox, cluster, run, runAlone, follow, stateOf, alias, show, SCRATCH };
