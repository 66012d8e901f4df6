'use strict';

// The Rust core as the JavaScript of the primary sees it: what is asked of it, and its events passed on to workers
// and channels.

const { deliver, passOn } = require('../channel/events');
const { inOwnTick } = require('../channel/order');
const errors = require('../errors');
const { NativeReactor } = require('../native-reactor');
const { beforeEnd } = require('../util/last-words');
const internals = require('../node-internals');
const { Sends } = require('../channel/native-writer');

/** @typedef {import('../native').Binding} Binding */
/** @typedef {import('../channel/channel').Channel} Channel */

/** @typedef {{ worker: any, channel: Channel, life: import('./worker-state').WorkerLife }} Peer */

class PrimaryReactor extends NativeReactor {
  #binding;
  #native;
  #settings;
  /** @type {Map<number, Peer>} */
  #peers = new Map();
  /** The worker of a child process. @type {WeakMap<object, any>} */
  #workers = new WeakMap();
  /** Tells a child process that its channel has closed. @type {WeakMap<object, () => void>} */
  #closes = new WeakMap();
  #servers = 0;
  /** @type {import('../../binding').NativeDescriptions | undefined} */
  #described;
  /** Told of each connection, while that is configured. @type {(worker: any, connection: any) => void} */
  onConnection = () => {};
  /** Told that the reactor's thread has ended. @type {(error: Error) => void} */
  onGone = (error) => process.emitWarning(error);

  /** @param {Binding} binding */
  constructor(binding) {
    const native = new binding.NativePrimary(
      () => this.dispatch(),
      (kind, id, messages, pieces) => deliver(binding, this.#peers.get(id)?.channel, kind, messages, pieces),
    );
    super(native, (kind, id, first, second) => this.#dispatchOne(kind, id, first, second));
    this.#binding = binding;
    this.#native = native;
    /** @type {import('../../binding').NativeSettings} */
    this.#settings = {
      roundRobin: true,
      paddedAbstractNames: internals.padsAbstractNames(),
      tellConnections: false,
      tellInternal: false,
    };
    this.sends = new Sends(this.#native.writer());
    beforeEnd((end) => {
      if (end === 'now') this.sends.isDirect = true;
      for (const { channel } of this.#peers.values()) channel.flush();
    });
  }

  /** @param {Partial<import('../../binding').NativeSettings>} change */
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

  /**
   * @param {number} id
   * @returns {number} the descriptor for the worker to inherit
   */
  openLane(id) {
    return this.#native.openLane(id);
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
   * @param {Peer} peer
   * @param {string} noLane why it has no lane, if it has none
   */
  adopt(id, peer, noLane) {
    const { process: child } = peer.worker;
    this.#peers.set(id, peer);
    this.#workers.set(child, peer.worker);
    this.#closes.set(child, internals.expectClose(child));
    internals.beforeExit(child, (proceed) => this.#exited(id, proceed));
    this.#native.spawned(id, noLane);
  }

  /** What has been counted so far. */
  counts() {
    return this.#native.stats();
  }

  /** What the numbers of `counts` are, in their order. */
  describeCounters() {
    this.#described ??= this.#binding.describeCounters();
    return this.#described;
  }

  /** @param {number} id */
  channelOf(id) {
    return this.#peers.get(id);
  }

  /** @param {number} id */
  disconnectWorker(id) {
    this.unlessGone(() => this.#native.disconnectWorker(id));
  }

  /** @param {number} id */
  closeChannel(id) {
    this.unlessGone(() => this.#native.closeChannel(id));
  }

  /**
   * @param {number} id
   * @param {string} reason
   */
  condemn(id, reason) {
    this.unlessGone(() => this.#native.condemn(id, reason));
  }

  /**
   * @param {number} id
   * @param {boolean} isRead whether what the worker says is read, but for its end
   */
  wantMessages(id, isRead) {
    if (isRead) this.#native.resume(id);
    else this.#native.pause(id);
  }

  /** @param {number} fd */
  closeHandle(fd) {
    if (fd >= 0) this.#native.closeHandle(fd);
  }

  /**
   * @param {number} id its process has ended
   * @param {() => void} proceed is called when everything that it left behind has been told, and its 'disconnect'
   */
  #exited(id, proceed) {
    const isOpen = this.#peers.has(id);
    this.ends.behindDisconnect(id, isOpen, proceed);
    if (isOpen) this.unlessGone(() => this.#native.exited(id));
  }

  /**
   * A worker broke the protocol. Its listeners hear of it; without any it is a warning, as the fault is not the
   * primary's to die of.
   *
   * @param {any} child
   * @param {Error} error
   */
  report(child, error) {
    const worker = this.#workers.get(child);
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
    this.#closes.get(child)?.();
  }

  /**
   * Passes on what has happened, each in a tick of its own, as Node passes on messages.
   *
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
        this.warnOfPause(first, second);
        return;
      case EventKind.Fault:
        inOwnTick(() => this.onGone(errors.create(Error, first, second)));
        return;
    }
    const peer = this.#peers.get(id);
    if (!peer) {
      if (kind === EventKind.HandleMessage) this.closeHandle(second);
      return;
    }
    peer.channel.origin.runInAsyncScope(this.#pass, this, peer, kind, id, first, second);
  }

  /**
   * @param {Peer} peer
   * @param {number} kind
   * @param {number} id
   * @param {any} first
   * @param {any} second
   */
  #pass({ worker, channel, life }, kind, id, first, second) {
    const { EventKind } = this.#binding;
    if (passOn(this.#binding, channel, kind, first, second)) return;
    switch (kind) {
      case EventKind.Internal:
        inOwnTick(() => channel.onInternal(first));
        break;
      case EventKind.Online:
        this.#tell(worker, () => life.online());
        break;
      case EventKind.Listening:
        this.#tell(worker, () => life.listening(serverOf(first)));
        break;
      case EventKind.ExitedAfterDisconnect:
        this.#tell(worker, () => life.leaving());
        break;
      case EventKind.Connection:
        inOwnTick(() => this.onConnection(worker, JSON.parse(first)));
        break;
      case EventKind.Closed:
        this.#peers.delete(id);
        this.ends.closed(id, () =>
          channel.onClosed(first === undefined ? undefined : errors.create(Error, first, second)),
        );
        break;
    }
  }

  /**
   * Tells what a worker has said, in a tick of its own.
   *
   * @param {any} worker
   * @param {() => void} tell
   */
  #tell(worker, tell) {
    inOwnTick(() => {
      // When this side has disconnected, nothing is heard any more (Node: `if (!target.channel) return`).
      if (worker.process.channel) tell();
    });
  }

  /** @param {number} count while there are servers, the process stays */
  #keepServers(count) {
    if (count > 0 && this.#servers === 0) this.keepAlive.hold();
    if (count === 0 && this.#servers > 0) this.keepAlive.release();
    this.#servers = count;
  }
}

/** @param {string} about a server that a worker has, in JSON */
function serverOf(about) {
  const { addressType, address, port, fd } = JSON.parse(about);
  return { addressType, address, port, fd };
}

module.exports = { PrimaryReactor };
