'use strict';

// The load generator: a process of its own, so that what it costs is not on the bill of what is measured.
// Started by lib/load.js. One request per connection.

const net = require('node:net');
const { serve } = require('./remote');
const { latencySummary } = require('./stats');

/**
 * @typedef {object} Job
 * @property {'http' | 'net'} protocol http sends a request; net only reads what the server says first
 * @property {number} port
 * @property {number} [rate] open loop: connections per second, started on schedule whatever the server does
 * @property {number} [clients] closed loop: so many at a time, each starting its next when one is over
 * @property {number} [seconds] for how long connections are started
 * @property {number} [count] closed loop: how many connections in all, if the time allows
 * @property {{ every: number, milliseconds: number, waits?: boolean }} [block] http: every so-manieth request asks the worker to block
 *   for so long, and is not counted among the latencies
 * @property {number} [patience] seconds that a client waits after the last connection was started; 10 by
 *   default
 */

/**
 * @typedef {object} LoadResult
 * @property {number} completed answered in full
 * @property {number} failed refused, reset, or closed without an answer
 * @property {number[]} failedPorts the clients' ports of those that failed; 0 for one that never connected
 * @property {number} unanswered neither answered nor closed when the patience ended
 * @property {number} seconds from the first connection to the last answer
 * @property {{ p50: number, p99: number, p999: number, max: number }} latency milliseconds: from the
 *   scheduled time (open loop) or from connect (closed loop) to the end of the answer
 * @property {{ p50: number, p99: number, p999: number, max: number }} lag milliseconds by which this process
 *   itself was late with its connections
 */

const REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
const DIGIT_2 = '2'.charCodeAt(0);
/** Where the status code stands in `HTTP/1.1 200 OK`. */
const STATUS_OFFSET = 9;

// All sockets read into this one: what arrives is looked at before the next read.
const readBuffer = Buffer.allocUnsafe(64 * 1024);

/** One job's connections and their counts. */
class Load {
  #job;
  completed = 0;
  failed = 0;
  /** @type {number[]} */
  #failedPorts = [];
  #started = 0;
  /** @type {Set<net.Socket>} */
  #open = new Set();
  /** @type {number[]} */
  #latencies = [];
  /** @type {number[]} */
  #lags = [];
  #startTime = 0;
  #lastAnswer = 0;
  #stopped = false;
  /** @type {() => void} */
  #onIdle = () => {};

  /** @param {Job} job */
  constructor(job) {
    this.#job = job;
  }

  /** @returns {Promise<LoadResult>} */
  async run() {
    this.#startTime = this.#lastAnswer = performance.now();
    if (this.#job.rate === undefined) await this.#runClosed();
    else await this.#runOpen(this.#job.rate);
    await this.#drain();
    const unanswered = this.#open.size;
    for (const socket of this.#open) socket.destroy();
    return {
      completed: this.completed,
      failed: this.failed,
      failedPorts: this.#failedPorts,
      unanswered,
      seconds: (this.#lastAnswer - this.#startTime) / 1000,
      latency: latencySummary(this.#latencies),
      lag: latencySummary(this.#lags),
    };
  }

  /** Stops starting connections; run() then ends as it does when the time is up. */
  stop() {
    this.#stopped = true;
  }

  /** @param {number} rate */
  #runOpen(rate) {
    const total = Math.round(rate * (this.#job.seconds ?? Infinity));
    return new Promise((resolve) => {
      const tick = () => {
        const now = performance.now();
        const due = Math.min(total, Math.floor(((now - this.#startTime) / 1000) * rate));
        while (this.#started < due) {
          const scheduled = this.#startTime + (this.#started / rate) * 1000;
          this.#lags.push(performance.now() - scheduled);
          this.#connect(scheduled, () => {});
        }
        if (this.#started >= total || this.#stopped) resolve(undefined);
        else setTimeout(tick, 1);
      };
      tick();
    });
  }

  #runClosed() {
    const { clients = 1, count = Infinity, seconds = Infinity } = this.#job;
    const end = this.#startTime + seconds * 1000;
    return new Promise((resolve) => {
      const next = () => {
        if (this.#started < count && performance.now() < end && !this.#stopped) {
          this.#connect(performance.now(), next);
        } else {
          resolve(undefined);
        }
      };
      // When every client hangs, none comes to look at the time.
      if (Number.isFinite(seconds)) setTimeout(resolve, seconds * 1000).unref();
      for (let i = Math.min(clients, count); i > 0; i--) next();
    });
  }

  /**
   * @param {number} since the time in milliseconds that the latency counts from
   * @param {() => void} done
   */
  #connect(since, done) {
    this.#started++;
    const http = this.#job.protocol === 'http';
    const { block } = this.#job;
    // The first after half a round: where a run ends, none is under way.
    const blocks = block !== undefined && this.#started % block.every === Math.floor(block.every / 2);
    let answered = false;
    const socket = net.connect({
      host: '127.0.0.1',
      port: this.#job.port,
      onread: {
        buffer: readBuffer,
        callback: () => {
          answered ||= !http || readBuffer[STATUS_OFFSET] === DIGIT_2;
          return true;
        },
      },
    });
    this.#open.add(socket);
    if (http)
      socket.write(
        blocks ? REQUEST.replace('/', `/${block.waits ? 'wait' : 'block'}?${block.milliseconds}`) : REQUEST,
      );
    socket.on('end', () => {
      if (!answered) return;
      this.#lastAnswer = performance.now();
      if (!blocks) this.#latencies.push(this.#lastAnswer - since);
    });
    socket.on('error', () => {
      answered = false;
    });
    let port = 0;
    socket.on('connect', () => {
      port = /** @type {number} */ (socket.localPort);
    });
    socket.on('close', () => {
      // The patience has ended and this one is counted as unanswered.
      if (!this.#open.delete(socket)) return;
      if (answered) this.completed++;
      else {
        this.failed++;
        this.#failedPorts.push(port);
      }
      done();
      if (this.#open.size === 0) this.#onIdle();
    });
  }

  /** Waits until every connection is over, or the patience. */
  async #drain() {
    if (this.#open.size === 0) return;
    const { patience = 10 } = this.#job;
    /** @type {NodeJS.Timeout | undefined} */
    let timer;
    await new Promise((resolve) => {
      this.#onIdle = () => resolve(undefined);
      timer = setTimeout(resolve, patience * 1000);
    });
    clearTimeout(timer);
  }
}

/** @type {Load | undefined} */
let current;

serve({
  run: (/** @type {Job} */ job) => {
    current = new Load(job);
    return current.run();
  },
  stop: () => current?.stop(),
  progress: () => ({ completed: current?.completed ?? 0, failed: current?.failed ?? 0 }),
});
