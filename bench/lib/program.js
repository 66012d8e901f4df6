'use strict';

const path = require('node:path');
const proc = require('./proc');
const { Remote, whileItRuns } = require('./remote');
const { SIDE_VARIABLE } = require('./side');

/** @typedef {import('./side').Side} Side */

/**
 * @typedef {object} ProgramOptions
 * @property {'http' | 'net'} [protocol]
 * @property {boolean} [lane] workers load corral, on our side
 * @property {boolean} [sharedBuiltin] the built-in under SCHED_NONE
 * @property {string} [binding] a file to load in place of the binding that was built
 */

/** A cluster under measurement: programs/primary.js with its workers. */
class Program {
  #remote;
  port = 0;
  /** @type {number[]} the workers that start() started */
  pids = [];

  /**
   * @param {Side} side
   * @param {ProgramOptions} [options]
   */
  constructor(side, { protocol = 'http', lane = false, sharedBuiltin = false, binding } = {}) {
    const policy = sharedBuiltin && side === 'builtin' ? 'none' : 'rr';
    this.#remote = new Remote(path.join(__dirname, '../programs/primary.js'), {
      args: lane ? [protocol, 'lane'] : [protocol],
      execArgv: ['--expose-gc'],
      env: {
        [SIDE_VARIABLE]: side,
        NODE_CLUSTER_SCHED_POLICY: policy,
        // What the generated loader takes before all others.
        ...(binding && { NAPI_RS_NATIVE_LIBRARY_PATH: binding }),
      },
    });
  }

  /** @param {number} workers */
  async start(workers) {
    const { port, pids } = await this.#remote.ask('start', workers);
    this.port = port;
    this.pids = pids;
  }

  /** The primary's process id. */
  get pid() {
    return this.#remote.pid;
  }

  /** @returns {Promise<number[]>} how many connections each living worker has had */
  counts() {
    return this.#remote.ask('counts');
  }

  /** @returns {Promise<number[]>} how many connections each living worker has open */
  open() {
    return this.#remote.ask('open');
  }

  /** @returns {Promise<number[]>} the living workers */
  workerPids() {
    return this.#remote.ask('pids');
  }

  /**
   * @returns {Promise<{ stalls: number | null, recalled: number | null }>} how often a worker was found blocked, and how
   *   many connections were taken back; null for the built-in
   */
  lanes() {
    return this.#remote.ask('lanes');
  }

  /** @param {boolean} busy whether the primary's JavaScript blocks 200 ms out of every 400 */
  setBusy(busy) {
    return this.#remote.ask('busy', busy);
  }

  /** @param {'kill' | 'disconnect'} how */
  replaceWorker(how) {
    return this.#remote.ask('replace', how);
  }

  /** @param {number} every milliseconds: from now on a random worker is killed, and forked again */
  beginKills(every) {
    return this.#remote.ask('beginKills', every);
  }

  /**
   * @param {number[]} failedPorts the clients' ports of the requests that failed
   * @returns {Promise<{ kills: number, unexplained: number | null }>} how many of these no worker had received that was
   *   killed; null for the built-in, which does not tell who received what
   */
  endKills(failedPorts) {
    return this.#remote.ask('endKills', failedPorts);
  }

  /** @returns {Promise<number>} the port at which the cluster is observed from now on, which only corral's can be */
  observe() {
    return this.#remote.ask('observe');
  }

  /** The primary's open fds and resident MiB, after a garbage collection. */
  async footprint() {
    await this.#remote.ask('collectGarbage');
    return { fds: proc.fdCount(this.pid), rss: proc.residentMiB(this.pid) };
  }

  stop() {
    return this.#remote.stop();
  }
}

/**
 * Starts a cluster, does something with it, and stops it whatever happens.
 * @template T
 * @param {Side} side
 * @param {ProgramOptions & { workers: number }} options
 * @param {(program: Program) => Promise<T>} use
 */
function withProgram(side, { workers, ...options }, use) {
  return whileItRuns(new Program(side, options), workers, use);
}

exports.Program = Program;
exports.withProgram = withProgram;
