'use strict';

// The reactor of channels over named sockets, and of those that a worker has of its own, as JavaScript sees it: requests, and
// events for servers and channels.

const os = require('node:os');

const { inOwnTick } = require('../channel/order');
const errors = require('../errors');
const { NativeReactor } = require('../native-reactor');
const { beforeEnd } = require('../util/last-words');
const internals = require('../node-internals');
const { Origin } = require('../util/origin');
const { version } = require('../../package.json');

/** @typedef {import('../native').Binding} Binding */
/** @typedef {import('./channel').Channel} PublicChannel */
/** @typedef {import('./server').ChannelServer} ChannelServer */
/** @typedef {{ pid: number, uid: number, gid: number }} Credentials */

/**
 * One end of a channel: a PublicChannel, a worker's to its primary, or to another worker.
 * @typedef {import('../native-reactor').End & { connecting?: boolean, path?: string }} End
 */

/** @typedef {{ listener: number | null, peer: Credentials, maxMessageSize: number }} About the other end */

/**
 * A side's terms for its channels, checked.
 * @typedef {object} Terms
 * @property {import('../serialization').Serialization} serialization
 * @property {number} maxMessageSize
 * @property {number} maxQueuedBytes
 * @property {number} handshakeTimeout
 * @property {((peer: Credentials) => boolean | Promise<boolean>) | undefined} allow
 */

/** @extends {NativeReactor<import('../../binding').NativeIpc, End>} */
class IpcReactor extends NativeReactor {
  /** @type {Map<number, ChannelServer>} */
  #servers = new Map();
  /** The cause of the events of a server, and of its channels: `listen`. @type {Map<number, Origin>} */
  #origins = new Map();

  /** @param {Binding} binding */
  constructor(binding) {
    super(binding, (wake, deliver) => new binding.NativeIpc(wake, deliver));
    beforeEnd((end) => {
      // Node tears nothing down after process.exit() or an uncaught exception: the sockets' files would stay.
      if (end === 'perhaps') return;
      for (const listener of this.#servers.keys()) this.closeListener(listener);
    });
  }

  /**
   * @param {Terms} terms
   * @returns {import('../../binding').NativeTerms}
   */
  #nativeTerms({ serialization, maxMessageSize, maxQueuedBytes, handshakeTimeout, allow }) {
    return {
      advanced: serialization.advanced,
      maxMessageSize,
      maxQueuedBytes,
      handshakeTimeout,
      asks: allow !== undefined,
      paddedAbstractNames: internals.padsAbstractNames(),
    };
  }

  /**
   * @param {ChannelServer} server
   * @param {string} path
   * @param {{ readableAll: boolean, writableAll: boolean, backlog: number | undefined }} options
   * @param {Terms} terms
   * @param {number} maxConnections
   * @returns {number} the listener's number, or a negative errno
   */
  listen(server, path, { readableAll, writableAll, backlog }, terms, maxConnections) {
    const native = this.#nativeTerms(terms);
    const id = this.native.listen(path, readableAll, writableAll, backlog, native, maxConnections);
    if (id > 0) {
      this.#servers.set(id, server);
      this.#origins.set(id, new Origin('CORRALSERVER'));
    }
    return id;
  }

  /**
   * @param {number} listener
   * @param {number} max
   */
  setMaxConnections(listener, max) {
    this.native.setMaxConnections(listener, max);
  }

  /** @param {number} listener */
  closeListener(listener) {
    this.#servers.delete(listener);
    this.#origins.delete(listener);
    this.native.closeListener(listener);
  }

  /**
   * @param {PublicChannel} channel
   * @param {string} path
   * @param {Terms} terms
   * @returns {number}
   */
  connect(channel, path, terms) {
    const id = this.native.connect(path, this.#nativeTerms(terms));
    this.addChannel(id, channel);
    return id;
  }

  /**
   * Takes over this end of a channel, and reads it from now on.
   *
   * @param {number} fd the reactor's from now on
   * @param {boolean} advanced
   * @param {number | undefined} maxFrame the longest frame that its other end may send, in bytes; any length by default
   * @param {(id: number) => End} take makes the end that gets its events
   */
  adopt(fd, advanced, maxFrame, take) {
    const id = this.native.adopt(fd, advanced, maxFrame);
    this.addChannel(id, take(id));
  }

  /**
   * @param {number} id its other end has gone
   * @param {() => void} proceed is called when all that it left behind has been passed on
   */
  readAll(id, proceed) {
    const isOpen = this.channelOf(id) !== undefined;
    this.ends.behindMessages(id, isOpen, proceed);
    if (isOpen) this.unlessGone(() => this.native.readAll(id));
  }

  /**
   * The reactor as the owner of a channel that was adopted.
   *
   * @param {import('node:events')} target
   * @param {boolean} [isToPrimary]
   * @returns {import('../channel/channel').Owner}
   */
  ownerOf(target, isToPrimary = false) {
    return {
      keepAlive: this.keepAlive,
      channelFd: (id) => this.channelFd(id),
      writer: this.writer,
      closeChannel: (id) => this.closeChannel(id),
      destroy: (id, reason) => this.destroy(id, reason),
      closeHandle: (fd) => this.closeHandle(fd),
      wantInternalMessages: () => {},
      report: (_target, error) => {
        if (target.listenerCount('error') > 0) target.emit('error', error);
        else process.emitWarning(error);
      },
      closed: () => {},
      isToPrimary,
    };
  }

  /**
   * @param {number} fd of a socket
   * @returns {boolean} whether its other end is closed
   */
  hasEnded(fd) {
    return this.native.hasEnded(fd);
  }

  /**
   * Closes a channel at once.
   *
   * @override
   * @param {number} id
   * @param {string} [reason] what is wrong with a message of its peer's
   */
  destroy(id, reason = undefined) {
    if (reason === undefined) this.native.destroy(id);
    else super.destroy(id, reason);
  }

  /**
   * @override
   * @param {number} kind
   * @param {number} id
   * @param {any} first
   * @param {any} second
   */
  onEvent(kind, id, first, second) {
    const { EventKind } = this.binding;
    switch (kind) {
      case EventKind.Connected: {
        const about = JSON.parse(first);
        const origin = this.#originOf(id, about.listener);
        if (origin) origin.runInAsyncScope(this.#connected, this, id, about);
        else this.#connected(id, about);
        break;
      }
      case EventKind.Asked: {
        const about = JSON.parse(first);
        const origin = this.#originOf(id, about.listener);
        inOwnTick(() => (origin ? origin.runInAsyncScope(this.#ask, this, id, about) : this.#ask(id, about)));
        break;
      }
      case EventKind.Refused: {
        const { peer, code, message, count } = JSON.parse(first);
        const server = this.#servers.get(id);
        const tell = () => server?.onRefused(errors.refused(code, message, count), peer);
        this.#origins.get(id)?.runInAsyncScope(inOwnTick, undefined, tell);
        break;
      }
      default:
        super.onEvent(kind, id, first, second);
    }
  }

  /**
   * The system's errors look as they do from `net`.
   *
   * @override
   * @param {string} code
   * @param {string} message
   * @param {End} channel
   */
  causeOf(code, message, channel) {
    const errno = os.constants.errno[/** @type {keyof typeof os.constants.errno} */ (code)];
    if (errno === undefined || !channel.connecting) return super.causeOf(code, message, channel);
    return Object.assign(errors.errnoException(-errno, 'connect', channel.path), { address: channel.path });
  }

  /**
   * The cause of the events of a connection, or of an attempt to make one.
   *
   * @param {number} id
   * @param {number | null} listener
   */
  #originOf(id, listener) {
    return listener === null ? this.channelOf(id)?.messaging.origin : this.#origins.get(listener);
  }

  /** @param {number} id of a channel over a named socket */
  #publicChannel(id) {
    return /** @type {PublicChannel | undefined} */ (this.channelOf(id));
  }

  /**
   * @param {number} id
   * @param {About} about
   */
  #connected(id, about) {
    if (about.listener === null) {
      this.#publicChannel(id)?.onConnected(id, about);
      return;
    }
    const channel = this.#servers.get(about.listener)?.onConnection(id, about);
    // Closed meanwhile.
    if (channel === undefined) this.native.destroy(id);
    else this.addChannel(id, channel);
  }

  /**
   * @param {number} id
   * @param {{ listener: number | null, peer: Credentials }} about
   */
  async #ask(id, { listener, peer }) {
    const owner = () => (listener === null ? this.#publicChannel(id) : this.#servers.get(listener));
    const asked = owner();
    let allowed = false;
    try {
      allowed = (await asked?.allows(peer)) === true;
    } catch (error) {
      // One that has ended meanwhile has had its last event.
      inOwnTick(() => owner()?.onAllowFailed(error, peer));
    } finally {
      this.native.decide(id, allowed);
    }
  }
}

/**
 * Where the reactor is that all copies of this version share which the process, or a thread of it, loads: it has a thread, and
 * lasts as long as they. A copy of another version may ask other things of its reactor, and makes its own.
 */
const REACTOR = Symbol.for(`corral.ipc ${version}`);

/** Every copy gets the same object, also where its `process` and its globals are not Node's own (as in Jest). */
const builtin = /** @type {any} */ (require('node:cluster'));

/**
 * The reactor of this process, or thread; made when it is first needed.
 *
 * @param {string} feature what it is needed for
 * @returns {IpcReactor}
 */
function ipcReactor(feature) {
  if (builtin[REACTOR] === undefined) {
    const { native, reason } = require('../native');
    if (native === undefined) throw errors.noCore(feature, reason);
    Object.defineProperty(builtin, REACTOR, { value: new IpcReactor(native) });
  }
  return builtin[REACTOR];
}

module.exports = { ipcReactor };
