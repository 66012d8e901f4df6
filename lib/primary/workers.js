'use strict';

// The workers of a cluster: how they come, `cluster.workers` while they are there, and how they go.

const { Channel } = require('../channel/channel');
const { takeRequest } = require('../channel/worker-requests');
const { addChannelAlias } = require('../deprecated');
const internals = require('../node-internals');
const serializations = require('../serialization');
const { sendToAll } = require('../util/send-to-all');
const { spawn, whyNoLane } = require('./spawn');
const { createWorker } = require('./worker');
const { WorkerLife, isRunning } = require('./worker-state');

class Workers {
  #cluster;
  #reactor;
  #policy;
  #lastId = 0;
  /** Workers whose channel is open, listed in cluster.workers or not. @type {Set<any>} */
  #connected = new Set();
  /** Called back when the last of so many has disconnected. @type {Set<{ leaving: Set<any>, callback: () => void }>} */
  #waiting = new Set();

  /**
   * @param {any} cluster
   * @param {import('./reactor').PrimaryReactor} reactor
   * @param {import('./policy').SchedulingPolicy} policy
   */
  constructor(cluster, reactor, policy) {
    this.#cluster = cluster;
    this.#reactor = reactor;
    this.#policy = policy;
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
    const serialization =
      settings.serialization === 'advanced' ? serializations.advanced : serializations.json;
    const noLane = whyNoLane(this.#policy);
    const child = spawn(reactor, id, settings, {
      env,
      advanced: serialization.advanced,
      hasLane: noLane === '',
    });
    const channel = new Channel(reactor, id, child, serialization);
    addChannelAlias(child);
    const worker = createWorker(id, child, this);
    const life = new WorkerLife(cluster, worker);
    this.#follow(worker, child, life);
    const wantMessages = (/** @type {boolean} */ isRead) => reactor.wantMessages(id, isRead);
    channel.incoming.onRequest = (message, handle) =>
      takeRequest(child, worker, message, handle, wantMessages);
    channel.onDisconnected = () => this.#onDisconnected(worker);
    const end = {
      worker,
      life,
      messaging: channel,
      onEnd: (/** @type {Error | undefined} */ cause) => channel.onClosed(cause),
    };
    reactor.adopt(id, end, noLane);
    process.nextTick(() => cluster.emit('fork', worker));
    cluster.workers[id] = worker;
    return worker;
  }

  /**
   * @param {any} worker
   * @param {any} child
   * @param {WorkerLife} life
   */
  #follow(worker, child, life) {
    const cluster = this.#cluster;
    this.#connected.add(worker);
    worker.on(
      'message',
      /** @this {any} */ function (/** @type {any} */ message, /** @type {any} */ handle) {
        cluster.emit('message', this, message, handle);
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

  /** @param {any} worker takes part in no server any more, and ends when its connections have */
  leave(worker) {
    if (worker.isConnected()) this.#reactor.disconnectWorker(worker.id);
    this.#remove(worker);
  }

  /** @param {() => void} [callback] called when every worker has disconnected */
  disconnect(callback) {
    for (const worker of this.#listed) if (worker.isConnected()) worker.disconnect();
    if (typeof callback !== 'function') return;
    if (this.#connected.size === 0) process.nextTick(callback);
    else this.#waiting.add({ leaving: new Set(this.#connected), callback });
  }

  /**
   * @param {any} message
   * @param {(error: Error | null) => void} [callback] called when it has gone out to all, or with the first error
   */
  broadcast(message, callback) {
    const connected = [...this.#connected].filter((worker) => worker.isConnected());
    sendToAll(connected, message, callback);
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
