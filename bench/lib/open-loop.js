'use strict';

// The load generator of the mixed bench as the bench script sees it. It is a program of its own in Rust, bench/load/: on
// a machine with few cores what the load costs is taken from the servers, and a client in JavaScript costs as much as they do.

const { spawn, spawnSync } = require('node:child_process');
const path = require('node:path');
const { createInterface } = require('node:readline');
const { latencySummary } = require('./stats');
const { WORKLOADS, schedule } = require('./workloads');

/** @typedef {import('./workloads').Arrivals} Arrivals */
/** @typedef {{ p50: number, p90: number, p99: number, p999: number, max: number }} Summary */

/**
 * @typedef {object} OpenLoopJob
 * @property {Arrivals} arrivals the warm-up is part of them
 * @property {number} warmUp seconds at the start that are not counted
 * @property {number[]} ports of the workload's servers
 * @property {boolean} computes whether requests use a processor while they block
 * @property {number} connections kept ones, over all ports; 0 for one for each request
 * @property {'random' | 'recent'} choice which of the kept connections a request takes that have none under way; when all have one,
 *   requests wait for the first that is free, in their order
 */

/**
 * @typedef {object} OpenLoopResult
 * @property {number} completed answered, warm-up included
 * @property {number} failed refused, reset, closed without an answer, or not answered with 200
 * @property {number} unanswered still under way when the patience ended
 * @property {number} dropped not sent, because too many were under way
 * @property {number} reopened kept connections that were closed by the servers, and opened again
 * @property {Summary[]} latencies milliseconds from the time at which a request was due to the end of its answer, by kind
 * @property {Summary} lag milliseconds by which the generator itself was late with requests
 */

/** Requests under way, waiting for a connection included. One more is dropped: the servers do not keep up. */
const MAX_UNDER_WAY = 5000;
const PATIENCE_MS = 10_000;

const CRATE = path.join(__dirname, '../load');
/** Not in the crate's own directory, so that one `target` is to be deleted and ignored. */
const TARGET = path.join(__dirname, '../../target/load');

class OpenLoopGenerator {
  #child;
  /** @type {AsyncIterator<string>} */
  #lines;
  #exited;

  constructor() {
    build();
    this.#child = spawn(path.join(TARGET, 'release/corral-load'), { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface(this.#child.stdout)[Symbol.asyncIterator]();
    this.#exited = new Promise((resolve) => this.#child.once('exit', resolve));
    // Its end shows where an answer is missing.
    this.#child.stdin.on('error', () => {});
  }

  /** Its process id. */
  get pid() {
    return /** @type {number} */ (this.#child.pid);
  }

  /**
   * Runs one job to its end; one at a time.
   * @param {OpenLoopJob} job
   * @returns {Promise<OpenLoopResult>}
   */
  async run({ arrivals, warmUp, ports, computes, connections, choice }) {
    const { times, kinds } = schedule(arrivals);
    const descriptions = WORKLOADS[arrivals.workload].kinds;
    const way = computes ? 'compute' : 'wait';
    const outcome = await this.#ask({
      times: [...times],
      kinds: [...kinds],
      requests: descriptions.map(({ cost, server = 0 }) => ({
        path: `/${way}?${cost}`,
        port: ports[server],
      })),
      connections,
      choice,
      seed: arrivals.seed,
      maxUnderWay: MAX_UNDER_WAY,
      patience: PATIENCE_MS,
    });
    const { latencies, lags, failed, unanswered, dropped, reopened } = outcome;
    /** @param {(number | null)[]} values @param {number} [kind] */
    const summary = (values, kind) =>
      latencySummary(
        /** @type {number[]} */ (
          values.filter(
            (value, i) =>
              value !== null && times[i] >= warmUp * 1000 && (kind === undefined || kinds[i] === kind),
          )
        ),
      );
    return {
      completed: times.length - failed - unanswered - dropped,
      failed,
      unanswered,
      dropped,
      reopened,
      latencies: descriptions.map((_, kind) => summary(latencies, kind)),
      lag: summary(lags),
    };
  }

  /** @param {object} job */
  async #ask(job) {
    this.#child.stdin.write(`${JSON.stringify(job)}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`the load generator ended early: ${await this.#exited}`);
    return JSON.parse(value);
  }

  async stop() {
    this.#child.stdin.end();
    await this.#exited;
  }
}

/** Does nothing when it is up to date. */
function build() {
  const args = ['build', '--release', '--quiet', '--locked', '--target-dir', TARGET];
  const { status, error } = spawnSync('cargo', args, { cwd: CRATE, stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) throw new Error(`bench/load cannot be built: cargo ended with ${status}`);
}

module.exports = { OpenLoopGenerator };
