'use strict';

// Workers that talk to each other. The primary's reactor gives two of them a socket when one asks for it. The primary takes no part
// in what follows: a blocked primary holds up nothing, and the socket ends when the other worker does.

const EventEmitter = require('node:events');

const { Channel } = require('../channel/channel');
const { inOwnTick } = require('../channel/order');
const errors = require('../errors');
const { ipcReactor } = require('../ipc/reactor');
const { hasLane } = require('./lane');
const { whyNoCore } = require('./primary');
const { ALL_PEERS, PEER, PEER_CONNECT, PEER_ROSTER } = require('../protocol');
const { sendToAll } = require('../util/send-to-all');
const serializations = require('../serialization');
const { endRequests, takeRequest, requestsOf } = require('../channel/worker-requests');

/** @typedef {import('../channel/channel').SendCallback} SendCallback */
/** @typedef {import('../channel/requests').RequestOptions} RequestOptions */

/** `send` answers false from here on while there is no socket yet, in messages. */
const MANY_WAITING = 1024;

/** Another worker, as a worker sees it. */
class Peer extends EventEmitter {
  /** @type {any[][]} */
  #waiting = [];
  #onMessage;
  /** Why there is no way to it. @type {Error | undefined} */
  #failure;
  #destroy = () => {};
  /** Of ChildProcess, which a channel expects. @type {any} */
  channel = null;
  connected = false;
  connecting = true;

  /**
   * @param {number} id
   * @param {(peer: Peer, message: any, handle: any) => void} onMessage
   */
  constructor(id, onMessage) {
    super();
    this.id = id;
    this.#onMessage = onMessage;
  }

  /** As `worker.send`. The callback gets an error when there is no way to the other worker. */
  send(/** @type {any[]} */ ...args) {
    if (args[0] === undefined) throw errors.missingArgs('message');
    // Until the channel is there, which puts its own in the place of this one.
    if (this.#failure !== undefined) return this.#refuse(args, this.#failure);
    this.#waiting.push(args);
    return this.#waiting.length < MANY_WAITING;
  }

  /**
   * @param {any} message
   * @param {RequestOptions} [options]
   * @returns {Promise<any>}
   */
  request(message, options) {
    // The 'disconnect' that follows a failure would reject it for want of a reply.
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return requestsOf(this, this).request(message, options);
  }

  /** @param {((message: any, handle: any) => any) | undefined} responder answers its requests */
  respond(responder) {
    requestsOf(this, this).respond(responder);
    return this;
  }

  /**
   * There is a socket to it.
   *
   * @param {any} reactor of this process's channels
   * @param {number} fd
   * @param {{ advanced?: boolean, maxFrame?: number }} message what the primary says of it
   * @param {() => void} onEnd
   */
  open(reactor, fd, message, onEnd) {
    const advanced = message.advanced === true;
    reactor.adopt(fd, advanced, message.maxFrame, (/** @type {number} */ id) => {
      this.#destroy = () => reactor.destroy(id);
      const serialization = advanced ? serializations.advanced : serializations.json;
      const messaging = new Channel(reactor.ownerOf(this), id, this, serialization);
      messaging.incoming.onRequest = (message, handle) => takeRequest(this, this, message, handle);
      messaging.onDisconnected = () => endRequests(this);
      const window = messaging.boundRequests();
      requestsOf(this, this).onSettled = (id) => window.settled(id);
      // It must not be what keeps a worker from ending.
      this.channel.unref();
      this.on('message', (message, handle) => this.#onMessage(this, message, handle));
      return {
        messaging,
        onEnd: (/** @type {Error | undefined} */ cause) => {
          messaging.onClosed(cause);
          onEnd();
        },
      };
    });
    this.connecting = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    const { send } = /** @type {any} */ (this);
    for (const args of waiting) send.apply(this, args);
  }

  /** Closes its socket, whatever waits. */
  destroy() {
    this.#destroy();
  }

  /**
   * There will be none.
   *
   * @param {Error} error
   */
  fail(error) {
    this.connecting = false;
    this.#failure = error;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const args of waiting) this.#refuse(args, error);
    inOwnTick(() => this.emit('disconnect'));
  }

  /**
   * @param {any[]} args of `send`
   * @param {Error} error
   * @returns {false} what `send` answers
   */
  #refuse(args, error) {
    const callback = args.find((argument) => typeof argument === 'function');
    if (callback) process.nextTick(callback, error);
    else process.nextTick(() => this.#report(error));
    return false;
  }

  /** @param {Error} error a message that did not get there is nothing for a worker to die of */
  #report(error) {
    if (this.listenerCount('error') > 0) this.emit('error', error);
    else process.emitWarning(error);
  }
}

/** The others, as one worker sees them. */
class Peers {
  #cluster;
  /** @type {Map<number, Peer>} */
  #byId = new Map();
  /** How many sockets to each have come. @type {Map<number, number>} */
  #links = new Map();
  /** Those whose socket has another one behind it, and has not ended. @type {Map<number, Peer>} */
  #former = new Map();
  /** What waits until everybody is known, in its order. @type {((error?: Error) => void)[] | undefined} */
  #untilKnown;
  #knowsAll = false;
  /** @type {((this: Peer, message: any, handle: any) => any) | undefined} */
  #responder;

  /** @param {any} cluster of this worker */
  constructor(cluster) {
    this.#cluster = cluster;
    // The protocol's own messages come by here, and a request of the primary's.
    process.on(
      /** @type {any} */ ('internalMessage'),
      (/** @type {any} */ message, /** @type {any} */ handle) => {
        if (message.cmd === PEER) this.#onPeer(message, handle);
        else if (message.cmd === PEER_ROSTER) this.#onRoster();
        else takeRequest(process, this.#cluster.worker, message, handle);
      },
    );
    // In front of the program's listeners, whatever they throw.
    process.prependOnceListener('disconnect', () => {
      for (const peer of this.#byId.values()) this.#giveUp(peer, errors.channelClosed());
      this.#settleBroadcasts(errors.channelClosed());
    });
  }

  /**
   * @param {number} id
   * @returns {Peer}
   */
  get(id) {
    if (!Number.isInteger(id)) throw errors.invalidArgType('id', 'an integer', id);
    const known = this.#byId.get(id);
    if (known !== undefined) return known;
    const peer = this.#add(id);
    this.#ask(id, peer);
    return peer;
  }

  /** @param {number} id */
  #add(id) {
    const peer = new Peer(id, (from, message, handle) =>
      this.#cluster.emit('message', from, message, handle),
    );
    this.#byId.set(id, peer);
    if (this.#responder !== undefined) peer.respond(this.#responder);
    return peer;
  }

  /** @param {((this: Peer, message: any, handle: any) => any) | undefined} responder answers the requests of all others */
  respond(responder) {
    this.#responder = responder;
    for (const peer of this.#byId.values()) peer.respond(responder);
  }

  /**
   * @param {number} to
   * @param {Peer} [peer]
   */
  #ask(to, peer = undefined) {
    const reason = whyNoWay();
    if (reason !== undefined) {
      if (peer) this.#giveUp(peer, reason);
      else this.#settleBroadcasts(reason);
      return;
    }
    /** @type {any} */ (process)._send(
      { cmd: PEER_CONNECT, to, after: this.#links.get(to) ?? 0 },
      undefined,
      true,
    );
  }

  /**
   * @param {any} message
   * @param {SendCallback} [callback] called when it has gone out to all, or with the first error
   */
  broadcast(message, callback) {
    if (message === undefined) throw errors.missingArgs('message');
    this.all((error, peers) => {
      if (error === null) sendToAll(peers, message, callback);
      else if (callback) process.nextTick(callback, error);
      else process.emitWarning(error);
    });
  }

  /** @param {(error: Error | null, peers: Peer[]) => void} callback called with all that have loaded corral */
  all(callback) {
    this.#whenKnown((error = undefined) => {
      const peers = [...this.#byId.values()].filter(({ connected }) => connected);
      if (error) callback(error, []);
      else callback(null, peers);
    });
  }

  /** @param {any} value */
  isPeer(value) {
    return value instanceof Peer;
  }

  /** @param {(error?: Error) => void} work */
  #whenKnown(work) {
    if (this.#knowsAll) return work();
    const isFirst = this.#untilKnown === undefined;
    this.#untilKnown = [...(this.#untilKnown ?? []), work];
    if (isFirst) this.#ask(ALL_PEERS);
  }

  #onRoster() {
    this.#knowsAll = true;
    this.#settleBroadcasts(undefined);
  }

  /** @param {Error | undefined} error why the others stay unknown; undefined when all are known */
  #settleBroadcasts(error) {
    const waiting = this.#untilKnown ?? [];
    this.#untilKnown = undefined;
    for (const work of waiting) work(error);
  }

  /**
   * @param {{ id: number, advanced?: boolean, maxFrame?: number, reason?: string }} message
   * @param {any} fd of the socket, if there is one
   */
  #onPeer(message, fd) {
    const { id, reason } = message;
    const known = this.#byId.get(id);
    if (typeof fd !== 'number') {
      const error = errors.noSuchWorker(id, `${reason}`);
      if (id === ALL_PEERS) this.#settleBroadcasts(error);
      else if (known !== undefined) this.#giveUp(known, error);
      return;
    }
    this.#links.set(id, (this.#links.get(id) ?? 0) + 1);
    // One that has a socket has lost it, and is about to see that: the other worker had no room for its end.
    if (known?.connected) this.#replace(known);
    const peer = known?.connecting ? known : this.#add(id);
    peer.open(ipcReactor('messages between workers'), fd, message, () => this.#forget(peer));
  }

  /**
   * @param {Peer} peer
   * @param {Error} error
   */
  #giveUp(peer, error) {
    if (!peer.connecting) return;
    this.#forget(peer);
    peer.fail(error);
  }

  /** @param {Peer} peer whose end is not waited for once there are two behind it: the other worker may keep them all open */
  #replace(peer) {
    this.#former.get(peer.id)?.destroy();
    this.#former.set(peer.id, peer);
  }

  /** @param {Peer} peer */
  #forget(peer) {
    for (const peers of [this.#byId, this.#former]) if (peers.get(peer.id) === peer) peers.delete(peer.id);
  }
}

/** @returns {Error | undefined} why this worker reaches no other */
function whyNoWay() {
  if (!process.connected) return errors.channelClosed();
  return whyNoCore() ?? (hasLane() ? undefined : errors.noLane());
}

/**
 * Gives a worker's cluster what it needs to talk to other workers.
 *
 * @param {any} cluster the built-in's object
 * @returns {Peers}
 */
function addPeers(cluster) {
  const peers = new Peers(cluster);
  const add = (/** @type {string} */ name, /** @type {Function} */ value) =>
    Object.defineProperty(cluster, name, { value, configurable: true, writable: true });
  add('workerById', (/** @type {number} */ id) => peers.get(id));
  add('respond', (/** @type {any} */ responder) => peers.respond(responder));
  add('broadcast', (/** @type {any} */ message, /** @type {SendCallback} */ callback) =>
    peers.broadcast(message, callback),
  );
  return peers;
}

module.exports = { Peer, Peers, addPeers };
