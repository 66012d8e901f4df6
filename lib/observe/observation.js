'use strict';

// A primary that is observed: one thread for all servers and profiles, from the first one's beginning to the last one's end.
// JavaScript tells it what JavaScript alone knows: the events of workers. And it hears from it of workers that are blocked.

const net = require('node:net');

const errors = require('../errors');
const { Buses } = require('./buses');
const { native, reason } = require('./native');
const { Places } = require('./places');
const { showRuntime } = require('./runtime');
const { blockText } = require('../util/block-text');

/** @typedef {import('../primary/cluster').Primary} Primary */
/** @typedef {import('../..').Block} Block */

/**
 * The cluster's events, and what those who follow events are told besides the worker's id and pid.
 * @type {Record<string, (...about: any[]) => object>}
 */
const EVENTS = {
  fork: () => ({}),
  online: () => ({}),
  listening: ({ address, port }) => ({ address, port }),
  disconnect: () => ({}),
  exit: (code, signal) => ({ code, signal }),
};

/** @type {WeakMap<Primary, Observation>} */
const observations = new WeakMap();

class Observation {
  #primary;
  #reports;
  /** @type {[string, (...args: any[]) => void][]} */
  #listeners = [];
  #users = 1;
  #lastProfile = 0;
  /** By the number of a profile. @type {Map<number, (report: any) => void>} */
  #profiles = new Map();
  #buses;
  #places = new Places();
  native;

  /**
   * The one of a primary, which the caller uses until it calls `release`.
   *
   * @param {Primary} primary
   * @param {string} what for, for the error
   */
  static use(primary, what) {
    const known = observations.get(primary);
    if (known !== undefined) {
      known.#users += 1;
      return known;
    }
    const made = new Observation(primary, what);
    observations.set(primary, made);
    return made;
  }

  /**
   * @param {Primary} primary
   * @param {string} what
   */
  constructor(primary, what) {
    if (native === undefined) throw errors.noCore(what, reason);
    this.#primary = primary;
    const { cluster, reactor } = primary;
    try {
      this.native = new native.NativeObservation(reactor.observation());
    } catch (error) {
      const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
      if (Number(code) > 0) throw errors.errnoException(-Number(code), 'socketpair');
      throw errors.create(Error, 'ERR_CORRAL_NAPI', message);
    }
    this.#reports = this.#listen();
    this.#buses = new Buses(this.native);
    for (const worker of Object.values(cluster.workers)) this.#places.add(worker);
    for (const [event, about] of Object.entries(EVENTS)) {
      const tell = (/** @type {any} */ worker, /** @type {any[]} */ ...args) =>
        this.#tell(event, worker, about(...args));
      // In front of the program's listeners, whatever they throw.
      cluster.prependListener(event, tell);
      this.#listeners.push([event, tell]);
    }
    const names = reactor.beginObserving();
    showRuntime(names, (numbers) => reactor.showRuntime(numbers));
  }

  release() {
    this.#users -= 1;
    if (this.#users > 0) return;
    observations.delete(this.#primary);
    this.#buses.close();
    this.native.close();
    this.#reports.destroy();
    for (const [event, tell] of this.#listeners) this.#primary.cluster.removeListener(event, tell);
    for (const worker of Object.values(this.#primary.cluster.workers)) worker.blocked = undefined;
    this.#primary.reactor.endObserving();
  }

  /**
   * @param {number} worker
   * @param {number} milliseconds
   * @returns {Promise<object>} a .cpuprofile
   */
  profile(worker, milliseconds) {
    this.#lastProfile += 1;
    const number = this.#lastProfile;
    // Whoever waits for it wants to have it.
    this.#reports.ref();
    return new Promise((resolve, reject) => {
      this.#profiles.set(number, ({ text, failed, unavailable }) => {
        if (text === undefined) return reject(errors.noProfile(worker, failed ?? unavailable));
        try {
          resolve(JSON.parse(text));
        } catch {
          reject(errors.noProfile(worker, 'what it has answered is none'));
        }
      });
      this.native.profile(number, worker, milliseconds);
    });
  }

  /** What the thread says. It does not keep the process alive, but for profiles. */
  #listen() {
    const socket = new net.Socket({ fd: this.native.takeReports(), readable: true, writable: false });
    socket.unref();
    /** @type {string[]} */
    let parts = [];
    socket.setEncoding('utf8').on('data', (/** @type {string} */ text) => {
      const lines = text.split('\n');
      parts.push(lines[0]);
      if (lines.length === 1) return;
      lines[0] = parts.join('');
      parts = [/** @type {string} */ (lines.pop())];
      for (const line of lines) this.#onReport(JSON.parse(line));
    });
    // The thread has ended, and says nothing more.
    socket.on('error', () => {});
    socket.on('close', () => {
      const waiting = [...this.#profiles.keys()];
      for (const profile of waiting)
        this.#onReport({ profile, failed: 'the thread that observes has ended' });
    });
    return socket;
  }

  /** @param {any} report */
  #onReport(report) {
    if (report.event !== undefined) return this.#onBlock(report.event, report.block);
    if (report.bus !== undefined) return this.#buses.onLost(report.bus);
    const settle = this.#profiles.get(report.profile);
    this.#profiles.delete(report.profile);
    if (this.#profiles.size === 0) this.#reports.unref();
    settle?.(report);
  }

  /**
   * @param {'blocked' | 'unblocked'} event
   * @param {any} about
   */
  #onBlock(event, { worker: id, since, duration, stack, isLate, activity }) {
    const { cluster } = this.#primary;
    const worker = cluster.workers[id];
    // It has gone meanwhile.
    if (worker === undefined) return;
    /** @type {Block} */
    const block = { since, duration, stack, isLate, activity };
    worker.blocked = event === 'blocked' ? block : undefined;
    if (event === 'blocked' && cluster.listenerCount('blocked') === 0) warn(id, block);
    cluster.emit(event, worker, block);
  }

  /**
   * @param {string} event
   * @param {any} worker
   * @param {object} about
   */
  #tell(event, worker, about) {
    const { id, process: child } = worker;
    if (event === 'fork') this.native.setRestarts(id, this.#places.add(worker));
    if (event === 'exit') this.#countExit(worker);
    this.native.emit(event, JSON.stringify({ worker: id, pid: child.pid, ...about }));
  }

  /** @param {any} worker that has ended */
  #countExit(worker) {
    const { id, exitedAfterDisconnect, process: child } = worker;
    const { exitCode, signalCode } = child;
    const status = `${signalCode ?? exitCode}`;
    const how = exitedAfterDisconnect ? 'left' : (signalCode ?? `code ${exitCode}`);
    const next = this.#places.remove(worker, how);
    this.native.setRestarts(id, null);
    if (next !== undefined) this.native.setRestarts(next.worker.id, next.restarts);
    if (exitedAfterDisconnect) this.native.countExit('disconnect', status);
    else this.native.countExit(signalCode === null ? 'exit' : 'signal', status);
  }
}

/**
 * @param {number} id of a worker
 * @param {Block} block
 */
function warn(id, block) {
  const since = new Date(block.since).toISOString();
  process.emitWarning(`worker ${id} is blocked since ${since}: it ${blockText(block)}`, {
    code: 'CORRAL_BLOCKED',
  });
}

module.exports = { Observation };
