'use strict';

// An HTTP server on all cores. Run it with
//
//   npm start                     (or: node examples/start.js)
//   PORT=3000 WORKERS=2 npm start
//
// and open the URL that it prints. The page says which worker answered and how many requests that one has
// had; while requests come, a line each second says how many. Kill a worker by the pid that is printed for
// it: its end and its replacement are one line each. A worker that dies at once is replaced more and more
// slowly. Ctrl-C (or SIGTERM) lets the workers finish their requests, within ten seconds (DRAIN=30000 for another
// number of milliseconds), and stops with exit code 0; a second one stops at once with exit code 1.

const http = require('node:http');
const os = require('node:os');
const cluster = require('corral');

const DEFAULT_PORT = 8000;
const DEFAULT_DRAIN_MILLISECONDS = 10_000;
const FIRST_DELAY_MILLISECONDS = 200;
const LONGEST_DELAY_MILLISECONDS = 10_000;
/** A worker that lived so long did not die of its start: the next one is replaced without delay again. */
const GOOD_LIFE_MILLISECONDS = 5_000;
const REPORT_MILLISECONDS = 1_000;
/** One Ctrl-C comes twice under npm: from the terminal, to everybody, and passed on by npm. */
const SAME_SIGNAL_MILLISECONDS = 500;

/** @typedef {import('corral').Worker} Worker */

/**
 * What a worker tells the primary.
 * @typedef {{ type: 'requests', count: number } | { type: 'listen-error', code: string, message: string }}
 *   Report
 */

/** Keeps a number of workers alive and says what happens to them. */
class Supervisor {
  #port;
  #wanted;
  #drain;
  #stopping = false;
  #stoppedAt = 0;
  /** The port of the last URL that was printed. */
  #announcedPort = 0;
  /** How many workers in a row died young. */
  #earlyDeaths = 0;
  #requests = 0;
  /**
   * The living workers and when each was forked. cluster.workers is not enough: disconnect() takes a worker
   * out of it before it has ended.
   * @type {Map<Worker, number>}
   */
  #workers = new Map();
  /** @type {Set<NodeJS.Timeout>} of the replacements that are to come */
  #pending = new Set();

  /**
   * @param {number} port 0 for any free one
   * @param {number} wanted number of workers
   * @param {number} drain for how many milliseconds they may go on when they are to stop
   */
  constructor(port, wanted, drain) {
    this.#port = port;
    this.#wanted = wanted;
    this.#drain = drain;
  }

  run() {
    console.log(
      `primary ${process.pid}, ${this.#wanted} workers${cluster.native ? '' : ' (no native binary: the built-in)'}`,
    );
    cluster.on('listening', (worker, { port }) => this.#onListening(worker, port));
    cluster.on('message', (worker, report) => this.#onReport(worker, report));
    cluster.on('exit', (worker, code, signal) => this.#onExit(worker, signal ?? `code ${code}`));
    for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => this.stop());
    // Keeps nothing alive: the workers do.
    setInterval(() => this.#reportRequests(), REPORT_MILLISECONDS).unref();
    for (let i = 0; i < this.#wanted; i++) this.#fork();
  }

  #fork() {
    this.#workers.set(cluster.fork(), performance.now());
  }

  /**
   * @param {Worker} worker
   * @param {number} port
   */
  #onListening(worker, port) {
    console.log(`worker ${worker.id} (pid ${worker.process.pid}) started`);
    // With port 0 all workers share the one that the first was given, until there is a time without any
    // worker.
    if (port === this.#announcedPort) return;
    this.#announcedPort = port;
    console.log(`http://localhost:${port}/ (Ctrl-C stops)`);
  }

  /**
   * @param {Worker} _worker
   * @param {Report} report
   */
  #onReport(_worker, report) {
    if (report.type === 'requests') {
      this.#requests += report.count;
      return;
    }
    // All workers will say the same; the first one is enough.
    if (this.#stopping) return;
    this.#fail(
      report.code === 'EADDRINUSE'
        ? `port ${this.#port} is taken by another program; choose another: PORT=${this.#port + 1} npm start`
        : `cannot listen on port ${this.#port}: ${report.message}`,
    );
  }

  /**
   * @param {Worker} worker
   * @param {string} cause
   */
  #onExit(worker, cause) {
    const lived = performance.now() - (this.#workers.get(worker) ?? 0);
    this.#workers.delete(worker);
    if (this.#stopping) return this.#onStopped();
    const delay = this.#delayAfter(lived);
    const when = delay === 0 ? 'replacing it' : `replacing it in ${delay / 1000} s`;
    console.log(`worker ${worker.id} (pid ${worker.process.pid}) died (${cause}), ${when}`);
    const timer = setTimeout(() => {
      this.#pending.delete(timer);
      this.#fork();
    }, delay);
    this.#pending.add(timer);
  }

  /**
   * @param {number} lived in milliseconds
   * @returns {number} milliseconds to wait before the next fork
   */
  #delayAfter(lived) {
    if (lived >= GOOD_LIFE_MILLISECONDS) {
      this.#earlyDeaths = 0;
      return 0;
    }
    const delay = FIRST_DELAY_MILLISECONDS * 2 ** this.#earlyDeaths++;
    return Math.min(delay, LONGEST_DELAY_MILLISECONDS);
  }

  #reportRequests() {
    if (this.#requests > 0) console.log(`${this.#requests} requests/s`);
    this.#requests = 0;
  }

  stop() {
    const now = performance.now();
    if (this.#stopping) {
      if (now - this.#stoppedAt < SAME_SIGNAL_MILLISECONDS) return;
      console.log('stopping at once');
      this.#killAll();
      process.exit(1);
    }
    this.#stopping = true;
    this.#stoppedAt = now;
    console.log('stopping: the workers finish their requests (Ctrl-C again stops at once)');
    for (const timer of this.#pending) clearTimeout(timer);
    // They close what is idle, tell the clients of the others with each answer that it is the last one on its
    // connection, and close what is left when the time is up.
    for (const worker of this.#workers.keys())
      if (worker.isConnected()) worker.disconnect({ drain: this.#drain });
    this.#onStopped();
  }

  /** Nothing but workers keeps the primary alive: with the last of them it ends, with code 0. */
  #onStopped() {
    if (this.#workers.size === 0) console.log('stopped');
  }

  /** @param {string} message */
  #fail(message) {
    this.#stopping = true;
    console.error(message);
    this.#killAll();
    process.exit(1);
  }

  #killAll() {
    for (const worker of this.#workers.keys()) worker.process.kill('SIGKILL');
  }
}

/**
 * @param {number} port
 * @param {number} drain
 */
function runWorker(port, drain) {
  const worker = /** @type {Worker} */ (cluster.worker);
  const { id } = worker;
  let requests = 0;
  let reported = 0;

  const server = http.createServer((_request, response) => {
    requests++;
    response.setHeader('Content-Type', 'text/plain; charset=utf-8');
    response.end(`Hello from worker ${id} (pid ${process.pid}), request ${requests} of this worker.\n`);
  });
  server.on('error', (/** @type {NodeJS.ErrnoException} */ { code, message }) => {
    process.send?.({ type: 'listen-error', code, message });
  });
  server.listen(port);

  setInterval(() => {
    if (requests > reported && process.connected)
      process.send?.({ type: 'requests', count: requests - reported });
    reported = requests;
  }, REPORT_MILLISECONDS).unref();

  // A Ctrl-C in a terminal goes to the workers as well: when to stop is for the primary to say.
  process.on('SIGINT', () => {});
  // Somebody wants this one worker to end, or a service manager all of them.
  process.on('SIGTERM', () => worker.disconnect({ drain }));
}

/** @param {string} message */
function failUsage(message) {
  console.error(message);
  process.exit(1);
}

function main() {
  const port = Number(process.env.PORT ?? DEFAULT_PORT);
  const workers = Number(process.env.WORKERS ?? os.availableParallelism());
  const drain = Number(process.env.DRAIN ?? DEFAULT_DRAIN_MILLISECONDS);
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    failUsage(`PORT is ${process.env.PORT}, not a port`);
  if (!Number.isInteger(workers) || workers < 1)
    failUsage(`WORKERS is ${process.env.WORKERS}, not a number above 0`);
  if (!Number.isInteger(drain) || drain < 0)
    failUsage(`DRAIN is ${process.env.DRAIN}, not a number of milliseconds`);
  if (cluster.isPrimary) new Supervisor(port, workers, drain).run();
  else runWorker(port, drain);
}

main();
