'use strict';

// The workers of a cluster: how they come, `cluster.workers` while they are there, and how they go.

const { discard } = require('../channel/discard');
const internals = require('../node-internals');
const { drainOf, tellDrain } = require('../util/drain');
const { sendToAll } = require('../util/send-to-all');
const { spawn, whyNoLane } = require('./spawn');
const { isRunning } = require('./worker-state');

class Workers {
  #cluster;
  #reactor;
  #policy;
  #load;
  #lastId = 0;
  /** Workers whose channel is open, listed in cluster.workers or not. @type {Set<any>} */
  #connected = new Set();
  /** Called back when the last of so many has disconnected. @type {Set<{ leaving: Set<any>, callback: () => void }>} */
  #waiting = new Set();

  /**
   * @param {any} cluster
   * @param {import('./reactor').PrimaryReactor} reactor
   * @param {import('./policy').SchedulingPolicy} policy
   * @param {() => typeof import('./worker-end')} load loads what only a worker that has been spawned needs
   */
  constructor(cluster, reactor, policy, load) {
    this.#cluster = cluster;
    this.#reactor = reactor;
    this.#policy = policy;
    this.#load = load;
  }

  /**
   * @param {NodeJS.ProcessEnv} [env]
   * @returns {any} the new worker
   */
  fork(env) {
    const cluster = this.#cluster;
    const reactor = this.#reactor;
    cluster.setupPrimary();
    const { settings } = cluster;
    const id = ++this.#lastId;
    const advanced = settings.serialization === 'advanced';
    const noLane = whyNoLane(this.#policy);
    const child = spawn(reactor, id, settings, { env, advanced, hasLane: noLane === '' });
    // While the first worker starts, which takes longer.
    const { openEnd } = this.#load();
    const onDisconnected = (/** @type {any} */ worker) => this.#onDisconnected(worker);
    const worker = openEnd(
      { cluster, reactor, owner: this, id, child, advanced, noLane, onDisconnected },
      (forked, life) => this.#follow(forked, child, life),
    );
    process.nextTick(() => cluster.emit('fork', worker));
    cluster.workers[id] = worker;
    return worker;
  }

  /**
   * @param {any} worker
   * @param {any} child
   * @param {import('./worker-state').WorkerLife} life
   */
  #follow(worker, child, life) {
    const cluster = this.#cluster;
    this.#connected.add(worker);
    worker.on(
      'message',
      /** @this {any} */ function (/** @type {any} */ message, /** @type {any} */ handle) {
        const isHeard = cluster.emit('message', this, message, handle);
        // Beside this listener, and the one by which the worker has it from the child.
        const others = this.listenerCount('message') + child.listenerCount('message') > 2;
        if (handle !== undefined && !isHeard && !others) discard(handle);
      },
    );
    child.once('disconnect', () => {
      if (worker.isDead()) this.#remove(worker);
      life.disconnected();
    });
    child.once('exit', (/** @type {number | null} */ exitCode, /** @type {string | null} */ signalCode) => {
      if (!worker.isConnected()) this.#remove(worker);
      life.dead(exitCode, signalCode);
    });
  }

  /** @param {any} worker has disconnected, and all listeners have been called */
  #onDisconnected(worker) {
    this.#connected.delete(worker);
    for (const one of this.#waiting) {
      if (!one.leaving.delete(worker) || one.leaving.size > 0) continue;
      this.#waiting.delete(one);
      process.nextTick(one.callback);
    }
  }

  /** @param {any} worker */
  #remove(worker) {
    delete this.#cluster.workers[worker.id];
  }

  /** @returns {any[]} those that the program sees */
  get #listed() {
    return Object.values(this.#cluster.workers);
  }

  /**
   * @param {any} worker takes part in no server any more, and ends when its connections have
   * @param {import('../util/drain').Drain} [drain] or when so much time has passed
   */
  leave(worker, drain) {
    if (worker.isConnected()) {
      if (drain !== undefined) tellDrain(worker, drain);
      this.#reactor.disconnectWorker(worker.id);
    }
    this.#remove(worker);
  }

  /**
   * @param {any} worker
   * @param {number} weight how many connections it gets in comparison with others; 0 for no new ones
   */
  weigh(worker, weight) {
    this.#reactor.weigh(worker.id, weight);
  }

  /**
   * @param {any} options as of `worker.disconnect`; or the callback
   * @param {any} [callback] called when every worker has disconnected
   */
  disconnect(options, callback) {
    // Before any of them leaves.
    drainOf(options);
    for (const worker of this.#listed) if (worker.isConnected()) worker.disconnect(options);
    callback = typeof options === 'function' ? options : callback;
    if (typeof callback !== 'function') return;
    if (this.#connected.size === 0) process.nextTick(callback);
    else this.#waiting.add({ leaving: new Set(this.#connected), callback });
  }

  /**
   * @param {any} message
   * @param {(error: Error | null) => void} [callback] called when it has gone out to all, or with the first error
   */
  broadcast(message, callback) {
    sendToAll(this.connected, message, callback);
  }

  /** @returns {any[]} those to whom something can be sent, on their way out or not */
  get connected() {
    return [...this.#connected].filter((worker) => worker.isConnected());
  }

  /** Starts the inspector of every worker, as that of this process was. */
  debug() {
    for (const worker of this.#listed) {
      const debug = () => internals.debugProcess(worker.process.pid);
      if (isRunning(worker)) debug();
      else worker.once('online', debug);
    }
  }
}

module.exports = { Workers };
