'use strict';

// The reactor of a primary as JavaScript sees it: requests about workers, and the workers' events.

const { inOwnTick } = require('../channel/order');
const { NativeReactor } = require('../native-reactor');
const internals = require('../node-internals');

/** @typedef {import('../native').Binding} Binding */

/**
 * A worker, and what the events of its channel go to.
 * @typedef {import('../native-reactor').End & { worker: any, life: import('./worker-state').WorkerLife }} WorkerEnd
 */

/** @typedef {{ worker: any, close: () => void }} Child */

/** What this process runs. A program may set `process.execPath` to have its workers run something else. */
const OWN_PROGRAM = process.execPath;

/** @extends {NativeReactor<import('../../binding').NativePrimary, WorkerEnd>} */
class PrimaryReactor extends NativeReactor {
  /** @type {import('../../binding').NativeSettings} */
  #settings = {
    paddedAbstractNames: internals.padsAbstractNames(),
    emitConnections: false,
    emitLanes: false,
    emitInternal: false,
    observed: false,
  };
  /** The worker of a child process, and what tells the process that its channel has closed. @type {WeakMap<object, Child>} */
  #children = new WeakMap();
  #servers = 0;
  /** @type {import('../../binding').NativeDescriptions | undefined} */
  #described;
  /** Called with each connection, while that is configured. @type {(worker: any, connection: any) => void} */
  onConnection = () => {};
  /** Called with each worker that is found not to receive, while that is configured. @type {(worker: any) => void} */
  onBlocked = () => {};
  /** Called with what is taken back from a worker, while that is configured. @type {(worker: any, recalled: { key: string, count: number }) => void} */
  onRecalled = () => {};
  /** Called when a policy of the program's, by its number, is asked whose a connection is. @type {(policy: number, question: any) => void} */
  onAsked = () => {};
  /** Called when the reactor's thread has ended, by a fault of corral's. @type {(error: Error) => void} */
  onGone = (error) => process.emitWarning(error);

  /** @param {Binding} binding */
  constructor(binding) {
    super(binding, (wake, deliver) => new binding.NativePrimary(wake, deliver));
  }

  /** @param {Partial<import('../../binding').NativeSettings>} change */
  configure(change) {
    Object.assign(this.#settings, change);
    this.native.configure(this.#settings);
  }

  get emitsLanes() {
    return this.#settings.emitLanes;
  }

  wantInternalMessages() {
    if (!this.#settings.emitInternal) this.configure({ emitInternal: true });
  }

  /**
   * @param {number} id
   * @param {boolean} advanced
   * @returns {number} the descriptor for the worker to inherit
   */
  openChannel(id, advanced) {
    return this.native.openChannel(id, advanced);
  }

  /**
   * @param {number} id
   * @returns {number} the descriptor for the worker to inherit
   */
  openLane(id) {
    return this.native.openLane(id);
  }

  /** @param {number} id a worker that could not be spawned */
  abandonChannel(id) {
    this.native.abandonChannel(id);
  }

  /**
   * @param {number} id a worker that has been spawned
   * @param {WorkerEnd} end
   * @param {string} noLane why it has no lane, if it has none
   */
  adopt(id, end, noLane) {
    const { process: child } = end.worker;
    this.addChannel(id, end);
    this.#children.set(child, { worker: end.worker, close: internals.expectClose(child) });
    internals.beforeExit(child, (proceed) => this.#exited(id, proceed));
    this.native.spawned(id, noLane, child.pid);
  }

  /** @returns the counters' values so far */
  counts() {
    return this.native.stats();
  }

  /** @returns the names of the numbers of `counts`, in their order */
  describeCounters() {
    this.#described ??= this.binding.describeCounters();
    return this.#described;
  }

  /** @returns what corral-observe is given to see this primary */
  observation() {
    return this.native.observation();
  }

  /**
   * Workers show what metrics are made of, and so does this process's own event loop, where it can.
   *
   * @returns {string[]} the names of what `showRuntime` takes
   */
  beginObserving() {
    this.configure({ observed: true });
    this.native.showLoop();
    return this.binding.runtimeNumbers();
  }

  endObserving() {
    this.configure({ observed: false });
    this.native.hideLoop();
  }

  /**
   * @param {Float64Array} numbers of this process's runtime
   * @returns {boolean} whether anybody sees them
   */
  showRuntime(numbers) {
    return this.native.showRuntime(numbers);
  }

  /**
   * Asks the worker to disconnect. When this returns, the worker takes part in no server any more.
   *
   * @param {number} id
   */
  disconnectWorker(id) {
    // What was sent before comes before.
    this.channelOf(id)?.messaging.writeQueue.flush();
    this.unlessGone(() => this.native.disconnectWorker(id));
  }

  /** @returns {number} of a table that a policy may look into */
  makeTable() {
    return this.native.makeTable();
  }

  /**
   * @param {number} table
   * @param {string} address of a client
   * @param {number | undefined} id of the worker whose its connections are from now on
   */
  assign(table, address, id) {
    this.native.assign(table, address, id);
  }

  /**
   * @param {number} question
   * @param {number | undefined} id of the worker whose the connection is
   */
  answer(question, id) {
    this.unlessGone(() => this.native.answer(question, id));
  }

  /**
   * What one primary needs in order to take another one's place.
   *
   * @returns {Pick<import('../../binding').NativePrimary, 'beginSuccession' | 'receiveSuccession' | 'beginAccepting' | 'handOver' | 'yieldToHeir' | 'disinherit' | 'unsentToHeir'>}
   */
  get handover() {
    return this.native;
  }

  /**
   * @param {number} fd of a socket that another process has bound
   * @returns where it is bound
   */
  inherit(fd) {
    return this.native.inherit(fd);
  }

  /**
   * @param {number} id
   * @param {number} weight
   */
  weigh(id, weight) {
    this.unlessGone(() => this.native.weigh(id, weight));
  }

  /**
   * @param {number} id its process has ended
   * @param {() => void} proceed emits 'exit'
   */
  #exited(id, proceed) {
    const isOpen = this.channelOf(id) !== undefined;
    this.ends.behindDisconnect(id, isOpen, proceed);
    if (isOpen) this.unlessGone(() => this.native.exited(id));
  }

  /**
   * A worker broke the protocol. Its listeners hear of it; without any it is a warning, as a primary does not die of its worker's
   * fault.
   *
   * @param {any} child
   * @param {Error} error
   */
  report(child, error) {
    const { worker } = /** @type {Child} */ (this.#children.get(child));
    const isHeardOnWorker = worker.listenerCount('error') > 0;
    // One listener of the child is the Worker's own, which passes the error on.
    if (!isHeardOnWorker && child.listenerCount('error') === 1) {
      process.emitWarning(error);
      return;
    }
    if (!isHeardOnWorker) worker.once('error', () => {});
    child.emit('error', error);
  }

  /**
   * With the program that a worker runs, unless that is this process's own: who cannot be understood is as a rule another version, or
   * another runtime.
   *
   * @override
   * @param {string} code
   * @param {string} message
   * @param {WorkerEnd} end
   */
  causeOf(code, message, end) {
    const { spawnfile } = end.worker.process;
    const isOther = code === 'ERR_CORRAL_BAD_FRAME' && spawnfile !== OWN_PROGRAM;
    return super.causeOf(code, isOther ? `${message}; the worker runs ${spawnfile}` : message, end);
  }

  /** @param {any} child its channel has closed */
  closed(child) {
    this.#children.get(child)?.close();
  }

  /**
   * @override
   * @param {number} kind
   * @param {number} id
   * @param {any} first
   * @param {any} second
   */
  onEvent(kind, id, first, second) {
    if (kind === this.binding.EventKind.Servers) this.#keepServers(id);
    else if (kind === this.binding.EventKind.PolicyAsked)
      inOwnTick(() => this.onAsked(id, JSON.parse(first)));
    else super.onEvent(kind, id, first, second);
  }

  /**
   * @override
   * @param {WorkerEnd} end
   * @param {number} kind
   * @param {any} about
   */
  onChannelEvent(end, kind, about) {
    const { EventKind } = this.binding;
    const { worker, life, messaging } = end;
    switch (kind) {
      case EventKind.Internal:
        inOwnTick(() => messaging.incoming.onInternal(about));
        break;
      case EventKind.Online:
        tell(worker, () => life.online());
        break;
      case EventKind.Listening:
        tell(worker, () => life.listening(serverOf(about)));
        break;
      case EventKind.ExitedAfterDisconnect:
        tell(worker, () => life.leaving());
        break;
      case EventKind.Connection:
        inOwnTick(() => this.onConnection(worker, JSON.parse(about)));
        break;
      case EventKind.Blocked:
        inOwnTick(() => this.onBlocked(worker));
        break;
      case EventKind.Recalled:
        inOwnTick(() => this.onRecalled(worker, JSON.parse(about)));
        break;
      default:
        super.onChannelEvent(end, kind, about);
    }
  }

  /**
   * @override
   * @param {Error} error
   */
  onFault(error) {
    inOwnTick(() => this.onGone(error));
  }

  /** @param {number} count while there are servers, the process stays */
  #keepServers(count) {
    if (count > 0 && this.#servers === 0) this.keepAlive.hold();
    if (count === 0 && this.#servers > 0) this.keepAlive.release();
    this.#servers = count;
  }
}

/**
 * Passes on a message of a worker's to its primary.
 *
 * @param {any} worker
 * @param {() => void} pass
 */
function tell(worker, pass) {
  inOwnTick(() => {
    // Once this side has disconnected, nothing of the peer's is passed on (Node: `if (!target.channel) return`).
    if (worker.process.channel) pass();
  });
}

/** @param {string} about a server that a worker has, in JSON */
function serverOf(about) {
  const { addressType, address, port, fd } = JSON.parse(about);
  return { addressType, address, port, fd };
}

module.exports = { PrimaryReactor };
