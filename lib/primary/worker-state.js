'use strict';

// `worker.state` in the primary: its values, and the one place that changes it. Each change is announced at once, by an event of
// the worker's and by one of the cluster's.

/**
 * Where a worker is in its life, in Node's words.
 * @enum {string}
 */
const WorkerState = Object.freeze({
  /** Its process has been spawned, and has not sent anything. */
  NONE: 'none',
  /** It runs. */
  ONLINE: 'online',
  /** It has a server. */
  LISTENING: 'listening',
  /** Its channel has closed. */
  DISCONNECTED: 'disconnected',
  /** Its process has ended. */
  DEAD: 'dead',
});

/** @param {{ state: string }} worker */
function isRunning({ state }) {
  return state === WorkerState.ONLINE || state === WorkerState.LISTENING;
}

/** The life of one worker. */
class WorkerLife {
  #cluster;
  #worker;

  /**
   * @param {import('node:events').EventEmitter} cluster
   * @param {any} worker
   */
  constructor(cluster, worker) {
    this.#cluster = cluster;
    this.#worker = worker;
  }

  online() {
    this.#enter(WorkerState.ONLINE, 'online');
  }

  /** @param {{ addressType: number | string, address: string | null, port: number, fd?: number }} server */
  listening(server) {
    this.#enter(WorkerState.LISTENING, 'listening', server);
  }

  /** The worker has said that it is about to disconnect and end, of its own accord. */
  leaving() {
    this.#worker.exitedAfterDisconnect = true;
  }

  disconnected() {
    this.#decide();
    this.#enter(WorkerState.DISCONNECTED, 'disconnect');
  }

  /**
   * @param {number | null} exitCode
   * @param {string | null} signalCode
   */
  dead(exitCode, signalCode) {
    this.#decide();
    this.#enter(WorkerState.DEAD, 'exit', exitCode, signalCode);
  }

  /** Undefined until its end, as with the built-in. */
  #decide() {
    this.#worker.exitedAfterDisconnect = !!this.#worker.exitedAfterDisconnect;
  }

  /**
   * @param {string} state
   * @param {string} event
   * @param {any[]} about the event
   */
  #enter(state, event, ...about) {
    const worker = this.#worker;
    worker.state = state;
    worker.emit(event, ...about);
    this.#cluster.emit(event, worker, ...about);
  }
}

module.exports = { WorkerLife, WorkerState, isRunning };
