'use strict';

// The load generator of the mixed bench: requests go out when they are due, whatever the servers do, and what each
// waits counts from that moment. A process of its own, with as little between it and the socket as JavaScript allows.
// Started by lib/open-loop.js.

const path = require('node:path');
const { Worker } = require('node:worker_threads');
const { ClosedConnections } = require('./open-loop-connections');
const { clock } = require('./open-loop-clock');
const { serve } = require('./remote');
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
 */

/**
 * @typedef {object} OpenLoopResult
 * @property {number} completed answered, warm-up included
 * @property {number} failed refused, reset, closed without an answer, or not answered with 200
 * @property {number} unanswered still under way when the patience ended
 * @property {number} dropped not sent, because too many were under way
 * @property {Summary[]} latencies milliseconds from the time at which a request was due to the end of its answer, by kind
 * @property {Summary} lag milliseconds by which this process itself was late with requests
 */

/** Requests under way, waiting for a connection included. One more is dropped: the servers do not keep up. */
const MAX_UNDER_WAY = 5000;
const PATIENCE_MS = 10_000;

/** What the clock needs to begin. */
const SETTLING_MS = 20;

/** One job's requests. */
class OpenLoop {
  #job;
  #kinds;
  #schedule;
  #connections;
  /** When the first second begins. */
  #start = 0;
  #sent = 0;
  #dropped = 0;
  #completed = 0;
  #failed = 0;
  /** @type {number[][]} by kind */
  #latencies;
  /** @type {number[]} */
  #lags = [];
  #onAllDone = () => {};

  /** @param {OpenLoopJob} job */
  constructor(job) {
    this.#job = job;
    this.#kinds = WORKLOADS[job.arrivals.workload].kinds;
    this.#schedule = schedule(job.arrivals);
    this.#latencies = this.#kinds.map(() => []);
    const way = job.computes ? 'compute' : 'wait';
    this.#connections = new ClosedConnections({
      kinds: this.#kinds.map(({ cost, server = 0 }) => ({
        path: `/${way}?${cost}`,
        port: job.ports[server],
      })),
      onAnswer: (index) => this.#onAnswer(index),
      onFailure: () => this.#onFailure(),
    });
  }

  /** @returns {Promise<OpenLoopResult>} */
  async run() {
    await this.#sendAll();
    const unanswered = await this.#drain();
    this.#connections.destroy();
    return {
      completed: this.#completed,
      failed: this.#failed,
      unanswered,
      dropped: this.#dropped,
      latencies: this.#latencies.map(latencySummary),
      lag: latencySummary(this.#lags),
    };
  }

  get #underWay() {
    return this.#sent - this.#dropped - this.#completed - this.#failed;
  }

  async #sendAll() {
    const { times } = this.#schedule;
    const thread = new Worker(path.join(__dirname, 'open-loop-clock.js'));
    await new Promise((resolve) => thread.once('online', resolve));
    this.#start = clock() + SETTLING_MS;
    const stop = new Int32Array(new SharedArrayBuffer(4));
    await new Promise((resolve, reject) => {
      thread.on('error', reject);
      thread.on('message', (due) => {
        while (this.#sent < due) this.#send(this.#sent++);
        if (due === times.length) resolve(undefined);
      });
      thread.postMessage({ times, start: this.#start, stop });
    });
    await thread.terminate();
  }

  /** @param {number} index */
  #send(index) {
    if (this.#underWay > MAX_UNDER_WAY) {
      this.#dropped++;
      return;
    }
    if (this.#counts(index)) this.#lags.push(clock() - this.#start - this.#schedule.times[index]);
    this.#connections.send(index, this.#schedule.kinds[index]);
  }

  /** @param {number} index */
  #counts(index) {
    return this.#schedule.times[index] >= this.#job.warmUp * 1000;
  }

  /** @param {number} index */
  #onAnswer(index) {
    this.#completed++;
    if (this.#counts(index)) {
      const latency = clock() - this.#start - this.#schedule.times[index];
      this.#latencies[this.#schedule.kinds[index]].push(latency);
    }
    if (this.#underWay === 0) this.#onAllDone();
  }

  #onFailure() {
    this.#failed++;
    if (this.#underWay === 0) this.#onAllDone();
  }

  /** Waits until every request is over, or the patience. @returns {Promise<number>} how many are not */
  async #drain() {
    if (this.#underWay === 0) return 0;
    /** @type {NodeJS.Timeout | undefined} */
    let timer;
    await new Promise((resolve) => {
      this.#onAllDone = () => resolve(undefined);
      timer = setTimeout(resolve, PATIENCE_MS);
    });
    clearTimeout(timer);
    return this.#underWay;
  }
}

serve({ run: (/** @type {OpenLoopJob} */ job) => new OpenLoop(job).run() });
