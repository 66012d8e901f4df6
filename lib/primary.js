'use strict';

// The primary's cluster object: Node's surface (internal/cluster/primary) on top of the core, which does what Node
// does in JavaScript. Connections never come by here.

const childProcess = require('node:child_process');

const { Channel } = require('./channel');
const errors = require('./errors');
const { KeepAlive } = require('./keep-alive');
const internals = require('./node-internals');
const serializations = require('./serialization');
const { commandLine, limits, merge, stdioOf } = require('./settings');
const { Worker } = require('./worker');

/** @typedef {import('./native').Binding} Binding */
/** @typedef {import('..').Cluster} Cluster */

const SCHED_NONE = 1;
const SCHED_RR = 2;

function initialPolicy() {
  switch (process.env.NODE_CLUSTER_SCHED_POLICY) {
    case 'none':
      return SCHED_NONE;
    default:
      return SCHED_RR;
  }
}

/** What the parts of the primary share: the core, and who is who. */
class Core {
  #binding;
  #native;
  #cluster;
  #settings;
  /** @type {Map<number, { worker: any, channel: Channel }>} */
  #peers = new Map();
  /** The worker of a child process. @type {WeakMap<object, any>} */
  #workers = new WeakMap();
  #servers = 0;
  keepAlive = new KeepAlive();

  /**
   * @param {Binding} binding
   * @param {any} cluster
   */
  constructor(binding, cluster) {
    this.#binding = binding;
    this.#cluster = cluster;
    this.#settings = { roundRobin: true, tellConnections: false, tellInternal: false, ...limits({}) };
    this.#native = new binding.NativePrimary(() => this.dispatch());
  }

  /** @param {Partial<import('../binding').NativeSettings>} change */
  configure(change) {
    Object.assign(this.#settings, change);
    this.#native.configure(this.#settings);
  }

  wantInternalMessages() {
    if (!this.#settings.tellInternal) this.configure({ tellInternal: true });
  }

  /**
   * @param {number} id
   * @param {boolean} advanced
   * @returns {number} the descriptor for the worker to inherit
   */
  openChannel(id, advanced) {
    return this.#native.openChannel(id, advanced);
  }

  /** @param {number} id */
  channelFd(id) {
    return this.#native.channelDescriptor(id);
  }

  /** @param {number} id a worker that could not be spawned */
  abandonChannel(id) {
    this.#native.abandonChannel(id);
  }

  /**
   * @param {number} id
   * @param {any} worker
   * @param {Channel} channel
   */
  adopt(id, worker, channel) {
    this.#peers.set(id, { worker, channel });
    this.#workers.set(worker.process, worker);
    this.#native.spawned(id);
  }

  /**
   * @param {number} id
   * @param {string | Buffer} frame
   * @param {number} fd
   * @param {number} completion
   */
  write(id, frame, fd, completion) {
    return typeof frame === 'string'
      ? this.#native.sendText(id, frame, fd, completion)
      : this.#native.sendBytes(id, frame, fd, completion);
  }

  /** @param {number} id */
  disconnectWorker(id) {
    this.#unlessGone(() => this.#native.disconnectWorker(id));
  }

  /** @param {number} id */
  closeChannel(id) {
    this.#unlessGone(() => this.#native.closeChannel(id));
  }

  /**
   * @param {number} id
   * @param {string} reason
   */
  condemn(id, reason) {
    this.#unlessGone(() => this.#native.condemn(id, reason));
  }

  /** @param {number} fd */
  closeHandle(fd) {
    if (fd >= 0) this.#native.closeHandle(fd);
  }

  /** @param {number} id its process has ended: what it left behind is told before anything else */
  exited(id) {
    this.#unlessGone(() => this.#native.exited(id));
    this.dispatch();
  }

  /**
   * A core that has ended has told so by a fault, and has closed every channel: what is asked of it is done.
   *
   * @param {() => void} request
   */
  #unlessGone(request) {
    try {
      request();
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ERR_CORRAL_REACTOR_GONE') throw error;
    }
  }

  /**
   * A worker broke the protocol. Its listeners hear of it; without any it is a warning, as the fault is not the
   * primary's to die of.
   *
   * @param {any} child
   * @param {Error} error
   */
  report(child, error) {
    // One listener is the Worker's own, which passes the error on.
    const heard = child.listenerCount('error') > 1 || this.#workers.get(child)?.listenerCount('error') > 0;
    if (heard) {
      const worker = this.#workers.get(child);
      if (worker.listenerCount('error') === 0) worker.once('error', () => {});
      child.emit('error', error);
    } else {
      process.emitWarning(error);
    }
  }

  /** Takes what has happened and passes it on, each in a tick of its own, as Node passes on messages. */
  dispatch() {
    /** @type {any[]} */
    const events = this.#native.takeEvents();
    for (let index = 0; index < events.length; index += 4) {
      this.#dispatchOne(events[index], events[index + 1], events[index + 2], events[index + 3]);
    }
  }

  /**
   * @param {number} kind
   * @param {number} id
   * @param {any} first
   * @param {any} second
   */
  #dispatchOne(kind, id, first, second) {
    const { EventKind } = this.#binding;
    switch (kind) {
      case EventKind.Servers:
        this.#keepServers(id);
        return;
      case EventKind.AcceptPaused:
        process.emitWarning(`Accepting connections is paused, there are no resources left: ${second}`, {
          code: 'CORRAL_ACCEPT_PAUSED',
          detail: first,
        });
        return;
      case EventKind.Fault:
        process.nextTick(() => this.#fault(errors.create(Error, first, second)));
        return;
    }
    const peer = this.#peers.get(id);
    if (!peer) {
      if (kind === EventKind.HandleMessage) this.closeHandle(second);
      return;
    }
    const { worker, channel } = peer;
    switch (kind) {
      case EventKind.Messages:
        channel.onMessages(first);
        break;
      case EventKind.Message:
        channel.onMessage(first);
        break;
      case EventKind.HandleMessage:
        channel.onHandleMessage(first, second);
        break;
      case EventKind.Internal:
        process.nextTick(() => channel.onInternal(first));
        break;
      case EventKind.Online:
        process.nextTick(() => this.#online(worker));
        break;
      case EventKind.Listening:
        process.nextTick(() => this.#listening(worker, JSON.parse(first)));
        break;
      case EventKind.ExitedAfterDisconnect:
        process.nextTick(() => {
          worker.exitedAfterDisconnect = true;
        });
        break;
      case EventKind.HandleArrived:
        process.nextTick(() => channel.onHandleArrived());
        break;
      case EventKind.HandleLost:
        process.nextTick(() => channel.onHandleLost());
        break;
      case EventKind.Written:
        process.nextTick(() => channel.onWritten(first, null));
        break;
      case EventKind.Unwritten:
        process.nextTick(() => channel.onWritten(first, errors.channelClosed()));
        break;
      case EventKind.Connection:
        process.nextTick(() => this.#cluster.emit('connection', worker, JSON.parse(first)));
        break;
      case EventKind.Closed:
        this.#peers.delete(id);
        channel.onClosed(first === undefined ? undefined : errors.create(Error, first, second));
        break;
    }
  }

  /** @param {number} count while there are servers, the process stays */
  #keepServers(count) {
    if (count > 0 && this.#servers === 0) this.keepAlive.hold();
    if (count === 0 && this.#servers > 0) this.keepAlive.release();
    this.#servers = count;
  }

  /** @param {Error} error */
  #fault(error) {
    if (this.#cluster.listenerCount('error') > 0) this.#cluster.emit('error', error);
    else process.emitWarning(error);
  }

  /** @param {any} worker */
  #online(worker) {
    worker.state = 'online';
    worker.emit('online');
    this.#cluster.emit('online', worker);
  }

  /**
   * @param {any} worker
   * @param {any} sent
   */
  #listening(worker, { addressType, address, port, fd }) {
    const info = { addressType, address, port, fd };
    worker.state = 'listening';
    worker.emit('listening', info);
    this.#cluster.emit('listening', worker, info);
  }
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

  /** @param {import('..').ClusterSettings} [options] */
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
    if (message.cmd !== 'NODE_DEBUG_ENABLED') return;
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
    const worker = /** @type {any} */ (Reflect.construct(Worker, [{ id, process: child }]));
    owners.set(worker, { core, cluster });
    follow(worker, child);
    core.adopt(id, worker, channel);
    internals.beforeExit(child, () => core.exited(id));
    process.nextTick(() => cluster.emit('fork', worker));
    cluster.workers[id] = worker;
    return worker;
  };

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
    const workerEnv = {
      ...process.env,
      ...env,
      NODE_UNIQUE_ID: `${id}`,
      NODE_CHANNEL_FD: `${slot}`,
      NODE_CHANNEL_SERIALIZATION_MODE: advanced ? 'advanced' : 'json',
    };
    stdio[slot] = core.openChannel(id, advanced);
    try {
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
      return childProcess.spawn(process.execPath, command, options);
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
      connected.delete(worker);
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
    const leaving = new Set(connected);
    if (leaving.size === 0) {
      process.nextTick(callback);
      return;
    }
    for (const worker of leaving) {
      worker.process.once('disconnect', () => {
        leaving.delete(worker);
        if (leaving.size === 0) callback();
      });
    }
  };

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

module.exports = { Core, createPrimary };
