'use strict';

// The primary's cluster object: Node's surface (internal/cluster/primary) on top of the core, which does what Node
// does in JavaScript. Connections never come by here.

const childProcess = require('node:child_process');
const fs = require('node:fs');

const { Channel } = require('../channel/channel');
const { addChannelAlias } = require('../deprecated');
const { Core } = require('./reactor');
const errors = require('../errors');
const internals = require('../node-internals');
const { DEBUG_ENABLED, LANE_FD_VARIABLE, LANE_VARIABLE, writeLane } = require('../protocol');
const { sendToAll } = require('../util/send-to-all');
const serializations = require('../serialization');
const { commandLine, limits, merge, stdioOf } = require('./settings');
const { Worker } = require('./worker');
const { hearRequest } = require('../channel/worker-requests');

/** @typedef {import('../native').Binding} Binding */
/** @typedef {import('../..').Cluster} Cluster */

const SCHED_NONE = 1;
const SCHED_RR = 2;

function initialPolicy() {
  return process.env.NODE_CLUSTER_SCHED_POLICY === 'none' ? SCHED_NONE : SCHED_RR;
}

/** Whose worker it is. @type {WeakMap<object, { core: Core, cluster: any }>} */
const owners = new WeakMap();

// What only a primary can do with a worker.

/** @this {any} */
Worker.prototype.disconnect = function disconnect() {
  this.exitedAfterDisconnect = true;
  const owner = owners.get(this);
  if (owner !== undefined) {
    if (this.isConnected()) owner.core.disconnectWorker(this.id);
    delete owner.cluster.workers[this.id];
  }
  return this;
};

/**
 * @this {any}
 * @param {string} [signo]
 */
Worker.prototype.destroy = function destroy(signo) {
  this.process.kill(signo || 'SIGTERM');
};

/**
 * Makes an event emitter the primary's cluster object.
 *
 * @param {any} cluster a new EventEmitter, or the built-in cluster object, which then works through corral
 * @param {Binding} binding
 * @returns {Cluster}
 */
function createPrimary(cluster, binding) {
  const core = new Core(binding, cluster);
  let ids = 0;
  let initialized = false;
  /** Workers whose channel is open, listed in cluster.workers or not. @type {Set<any>} */
  const connected = new Set();
  /** Who is called back when the last of so many has disconnected. @type {Set<{ leaving: Set<any>, callback: () => void }>} */
  const waiting = new Set();

  cluster.isWorker = false;
  cluster.isMaster = true;
  cluster.isPrimary = true;
  cluster.Worker = Worker;
  cluster.workers = {};
  cluster.settings = {};
  cluster.SCHED_NONE = SCHED_NONE;
  cluster.SCHED_RR = SCHED_RR;
  cluster.schedulingPolicy = initialPolicy();
  Object.defineProperty(cluster, 'native', { value: true, enumerable: true, configurable: true });

  /** @param {import('../..').ClusterSettings} [options] */
  cluster.setupPrimary = (options) => {
    const settings = merge(cluster.settings, options);
    cluster.settings = settings;
    process.nextTick(() => cluster.emit('setup', settings));
    core.configure(limits(settings));
    if (initialized) return;
    initialized = true;
    freezePolicy();
    process.on('internalMessage', debugWorkers);
  };
  cluster.setupMaster = cluster.setupPrimary;

  function freezePolicy() {
    const policy = cluster.schedulingPolicy;
    if (policy !== SCHED_NONE && policy !== SCHED_RR) throw errors.badSchedulingPolicy(policy);
    core.configure({ roundRobin: policy === SCHED_RR });
  }

  /** @param {any} message the parent of this process was told to debug: the workers are, too */
  function debugWorkers(message) {
    if (message.cmd !== DEBUG_ENABLED) return;
    for (const worker of /** @type {any[]} */ (Object.values(cluster.workers))) {
      const debug = () => internals.debugProcess(worker.process.pid);
      if (worker.state === 'online' || worker.state === 'listening') debug();
      else worker.once('online', debug);
    }
  }

  /** @param {NodeJS.ProcessEnv} [env] */
  cluster.fork = (env) => {
    cluster.setupPrimary();
    const id = ++ids;
    const serialization =
      cluster.settings.serialization === 'advanced' ? serializations.advanced : serializations.json;
    const child = spawn(id, env, serialization.advanced);
    const channel = new Channel(core, id, child, serialization);
    addChannelAlias(child);
    const worker = /** @type {any} */ (Reflect.construct(Worker, [{ id, process: child }]));
    owners.set(worker, { core, cluster });
    follow(worker, child);
    const wantMessages = (/** @type {boolean} */ isRead) => core.wantMessages(id, isRead);
    channel.onRequest = (message, handle) => hearRequest(child, worker, message, handle, wantMessages);
    channel.onDisconnected = () => hasLeft(worker);
    core.adopt(id, worker, channel, whyNoLane());
    internals.beforeExit(child, (proceed) => core.exited(id, proceed));
    process.nextTick(() => cluster.emit('fork', worker));
    cluster.workers[id] = worker;
    return worker;
  };

  /** @returns {string} why workers get no lanes; empty if they do */
  function whyNoLane() {
    if (process.env[LANE_VARIABLE] === '0') return `${LANE_VARIABLE}=0 is set`;
    if (process.platform === 'darwin') return 'macOS lacks the kind of socket that it takes';
    return cluster.schedulingPolicy === SCHED_RR ? '' : 'the workers accept connections themselves';
  }

  /**
   * @param {number} id
   * @param {NodeJS.ProcessEnv | undefined} env
   * @param {boolean} advanced
   */
  function spawn(id, env, advanced) {
    const { settings } = cluster;
    const { cwd, windowsHide, uid, gid, serialization, detached, signal, killSignal } = settings;
    const command = commandLine(settings);
    const { stdio, slot } = stdioOf(settings);
    /** @type {NodeJS.ProcessEnv} */
    const workerEnv = {
      ...process.env,
      ...env,
      NODE_UNIQUE_ID: `${id}`,
      NODE_CHANNEL_FD: `${slot}`,
      NODE_CHANNEL_SERIALIZATION_MODE: advanced ? 'advanced' : 'json',
    };
    stdio[slot] = core.openChannel(id, advanced);
    // The last place, behind all that the program has given a meaning to.
    const laneSlot = stdio.length;
    try {
      if (whyNoLane() === '') {
        const fd = core.openLane(id);
        stdio.push(fd);
        const { ino } = fs.fstatSync(fd);
        workerEnv[LANE_FD_VARIABLE] = writeLane({ descriptor: laneSlot, inode: ino, advanced });
      }
      const options = {
        cwd,
        env: workerEnv,
        stdio,
        windowsHide,
        uid,
        gid,
        serialization,
        detached,
        signal,
        killSignal,
        shell: false,
      };
      const child = childProcess.spawn(process.execPath, command, options);
      // The lane is nobody's but corral's.
      if (child.stdio) /** @type {any[]} */ (child.stdio).length = laneSlot;
      return child;
    } catch (error) {
      core.abandonChannel(id);
      throw error;
    }
  }

  /**
   * @param {any} worker
   * @param {any} child
   */
  function follow(worker, child) {
    connected.add(worker);
    worker.on(
      'message',
      /** @this {any} */ function (/** @type {any} */ message, /** @type {any} */ handle) {
        cluster.emit('message', this, message, handle);
      },
    );
    child.once('disconnect', () => {
      if (worker.isDead()) removeWorker(worker);
      worker.exitedAfterDisconnect = !!worker.exitedAfterDisconnect;
      worker.state = 'disconnected';
      worker.emit('disconnect');
      cluster.emit('disconnect', worker);
    });
    child.once('exit', (/** @type {number | null} */ exitCode, /** @type {string | null} */ signalCode) => {
      if (!worker.isConnected()) removeWorker(worker);
      worker.exitedAfterDisconnect = !!worker.exitedAfterDisconnect;
      worker.state = 'dead';
      worker.emit('exit', exitCode, signalCode);
      cluster.emit('exit', worker, exitCode, signalCode);
    });
  }

  /** @param {any} worker has disconnected, and all listeners have been told */
  function hasLeft(worker) {
    connected.delete(worker);
    for (const one of waiting) {
      if (!one.leaving.delete(worker) || one.leaving.size > 0) continue;
      waiting.delete(one);
      process.nextTick(one.callback);
    }
  }

  /** @param {any} worker */
  function removeWorker(worker) {
    delete cluster.workers[worker.id];
  }

  /** @param {() => void} [callback] called when every worker has disconnected */
  cluster.disconnect = (callback) => {
    for (const worker of /** @type {any[]} */ (Object.values(cluster.workers))) {
      if (worker.isConnected()) worker.disconnect();
    }
    if (typeof callback !== 'function') return;
    if (connected.size === 0) process.nextTick(callback);
    else waiting.add({ leaving: new Set(connected), callback });
  };

  /**
   * @param {any} message
   * @param {(error: Error | null) => void} [callback] called when it has gone out to all, or with the first error
   */
  cluster.broadcast = (message, callback) => {
    sendToAll(
      [...connected].filter((worker) => worker.isConnected()),
      message,
      callback,
    );
  };

  cluster.stats = () => core.stats();

  const watchConnections = () => core.configure({ tellConnections: cluster.listenerCount('connection') > 0 });
  cluster.on('newListener', (/** @type {any} */ name) => {
    // The listener is added after this event.
    if (name === 'connection') core.configure({ tellConnections: true });
  });
  cluster.on('removeListener', (/** @type {any} */ name) => {
    if (name === 'connection') watchConnections();
  });

  return cluster;
}

module.exports = { createPrimary };
