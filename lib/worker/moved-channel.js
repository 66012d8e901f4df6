'use strict';

// In a worker: its channel moves over from the socket that Node gave it to one between the two corrals. Node's own half keeps
// what it is good at (`process.channel`, what keeps the process alive, `connected`, 'disconnect'); messages take the new way,
// in the order in which they were sent. See docs/protocol.md.

// Not the global one, as in native-reactor.js.
const { setImmediate } = require('node:timers');

const { Channel } = require('../channel/channel');
const { inOwnTick } = require('../channel/order');
const { ipcReactor } = require('../ipc/reactor');
const { primaryVersion } = require('./primary');
const { endLane } = require('./lane');
const { onChannelEnd } = require('./leaving');
const { nodeSocketLists } = require('../node-internals');
const { CHANNEL_MOVE } = require('../protocol');
const serializations = require('../serialization');
const { socketListsOf } = require('../channel/socket-list');

/** @type {any} typed as it is for Node's own code */
const target = process;

/** @returns {string} the Node of the primary, if it is known */
function whoWrites() {
  const version = primaryVersion();
  return version === '' ? '' : `; the primary is Node ${version}`;
}

/** What waits to be written keeps the process alive, as in Node. */
class Pending {
  #keepAlive;
  #count = 0;

  /** @param {import('../util/keep-alive').KeepAlive} keepAlive */
  constructor(keepAlive) {
    this.#keepAlive = keepAlive;
  }

  refCounted() {
    if (this.#count++ === 0) this.#keepAlive.hold();
  }

  unrefCounted() {
    if (--this.#count === 0) this.#keepAlive.release();
  }

  release() {
    while (this.#count > 0) this.unrefCounted();
  }
}

/** This worker's end. */
class WorkerChannel {
  #reactor;
  #id = 0;
  /** @type {Channel | undefined} */
  #messaging;
  /** Node's part of it is under way: the end of the second socket may come meanwhile. */
  #isDisconnecting = false;
  /** Node has called back of all that it has sent. */
  #release = () => {};
  #disconnectFirst = target._disconnect;
  #firstFd = target.channel.fd;
  /** The second socket has ended since the primary has gone. The first may end later: a process that dies closes one after the other. */
  #isDeserted = false;

  constructor() {
    this.#reactor = ipcReactor('a channel of its own');
  }

  /**
   * Reads the second socket: the primary has sent the half-close marker on the first.
   *
   * @param {number} fd
   * @param {boolean} advanced
   */
  read(fd, advanced) {
    const reactor = this.#reactor;
    socketListsOf(target).takeOver(nodeSocketLists());
    // As Node's own: there is no limit to what the primary may send.
    reactor.adopt(fd, advanced, undefined, (id) => {
      const serialization = advanced ? serializations.advanced : serializations.json;
      const owner = reactor.ownerOf(target, true);
      const { destroy } = owner;
      // What is wrong with a message is a matter of two versions, as a rule.
      owner.destroy = (channel, reason) => destroy(channel, reason + whoWrites());
      const messaging = new Channel(
        owner,
        id,
        target,
        serialization,
        undefined,
        new Pending(reactor.keepAlive),
      );
      this.#id = id;
      this.#messaging = messaging;
      const onEnd = (/** @type {Error | undefined} */ cause, /** @type {boolean} */ isDeserted) => {
        this.#isDeserted = isDeserted;
        messaging.onClosed(cause);
      };
      return { messaging, onEnd };
    });
    target._disconnect = () => this.#disconnect();
  }

  /** Sends on the second socket, and the half-close marker on the first. */
  send() {
    const { _send } = target;
    const messaging = /** @type {Channel} */ (this.#messaging);
    this.#release = messaging.writeQueue.holdCallbacks();
    // Node calls back of this when it has written everything, and of what went out with a handle when libuv comes round to it.
    const onWritten = () => setImmediate(() => setImmediate(() => this.#release()));
    _send.call(target, { cmd: CHANNEL_MOVE }, undefined, true, onWritten);
    messaging.installSend();
  }

  #disconnect() {
    if (this.#isDisconnecting) return;
    this.#isDisconnecting = true;
    // If its end was read on this socket first.
    onChannelEnd();
    this.#messaging?.writeQueue.flush();
    this.#release();
    endLane(this.#firstFd, this.#isDeserted);
    const { channel } = target;
    // Node has read the end, and sets it to null when this returns; it does not expect that in what is to come.
    const restore = () => {
      target.channel = channel;
    };
    const disconnect = () => {
      restore();
      target.connected = false;
      this.#disconnectFirst.call(target);
    };
    if (this.#reactor.hasEnded(this.#firstFd)) {
      // Gone with what it had sent before unread: that comes before the 'disconnect', as it would on the first socket, and until then
      // the channel is open.
      inOwnTick(() => {
        restore();
        target.connected = true;
      });
      this.#reactor.readAll(this.#id, disconnect);
      return;
    }
    this.#reactor.closeChannel(this.#id);
    disconnect();
  }

  /** The descriptor of the second socket. */
  get fd() {
    return this.#reactor.channelFd(this.#id);
  }
}

/** @type {WorkerChannel | undefined} */
let moved;

/** This worker's end of its channel, once that has moved. */
function workerChannel() {
  return moved;
}

/**
 * Moves the channel over when the primary does.
 *
 * @param {import('../../binding').NativeLane} lane
 * @param {boolean} advanced
 */
function moveChannel(lane, advanced) {
  if (!target.connected) return;
  /** @type {WorkerChannel | undefined} */
  let channel;
  target.on('internalMessage', function onInternal(/** @type {any} */ message) {
    // Disconnected meanwhile: what the primary has on the second socket is for nobody.
    if (!target.channel) return;
    if (message.cmd === CHANNEL_MOVE && channel === undefined) {
      const fd = lane.takeChannel();
      if (fd < 0) return;
      channel = new WorkerChannel();
      channel.read(fd, advanced);
    }
    // A handle that has not arrived keeps everything behind it in Node's own queue.
    if (channel !== undefined && !target._handleQueue && target.connected) {
      target.removeListener('internalMessage', onInternal);
      channel.send();
      moved = channel;
    }
  });
}

module.exports = { moveChannel, workerChannel };
