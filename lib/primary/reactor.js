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

/** @extends {NativeReactor<import('../../binding').NativePrimary, WorkerEnd>} */
class PrimaryReactor extends NativeReactor {
  /** @type {import('../../binding').NativeSettings} */
  #settings = {
    roundRobin: true,
    paddedAbstractNames: internals.padsAbstractNames(),
    emitConnections: false,
    emitInternal: false,
  };
  /** The worker of a child process, and what tells the process that its channel has closed. @type {WeakMap<object, Child>} */
  #children = new WeakMap();
  #servers = 0;
  /** @type {import('../../binding').NativeDescriptions | undefined} */
  #described;
  /** Called with each connection, while that is configured. @type {(worker: any, connection: any) => void} */
  onConnection = () => {};
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
    this.native.spawned(id, noLane);
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

  /**
   * Asks the worker to disconnect. When this returns, the worker takes part in no server any more.
   *
   * @param {number} id
   */
  disconnectWorker(id) {
    this.unlessGone(() => this.native.disconnectWorker(id));
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
