'use strict';

// Connections that a net.Server of one process accepted and another process has: the server counts them, and waits
// for them when it closes, by asking over the channel (Node: internal/socket_list).

const { ChildProcess } = require('node:child_process');
const EventEmitter = require('node:events');

const errors = require('../errors');
const { SOCKET_ALL_CLOSED, SOCKET_COUNT, SOCKET_GET_COUNT, SOCKET_NOTIFY_CLOSE } = require('../protocol');

/** @typedef {import('./channel').Target} Target */
/** @typedef {(error: Error | null, reply?: any) => void} ReplyCallback */

/** The longest key that a peer may give: Node's has an address in it, which may be a path. */
const MAX_KEY_LENGTH = 4096;

/** Connections of one server that were sent over a channel. What net.Server calls its `_workers`. */
class SocketListSend extends EventEmitter {
  #channel;
  #key;
  /** Callbacks, with the `cmd` of the reply that each waits for. @type {{ cmd: string, callback: ReplyCallback }[]} */
  #waiting = [];

  /**
   * @param {Target} channel
   * @param {string} key
   */
  constructor(channel, key) {
    super();
    this.#channel = channel;
    this.#key = key;
  }

  /**
   * @param {string} cmd
   * @param {string} replyCmd
   * @param {ReplyCallback} callback
   */
  #request(cmd, replyCmd, callback) {
    if (!this.#channel.connected) return callback(errors.childClosedBeforeReply());
    const question = { cmd: replyCmd, callback };
    this.#waiting.push(question);
    // A peer that has just died cannot be asked. (With the built-in that is an 'error' event of the channel.)
    this.#channel._send({ cmd, key: this.#key }, undefined, false, (/** @type {Error | null} */ error) => {
      if (error === null || !this.#waiting.includes(question)) return;
      this.#waiting = this.#waiting.filter((other) => other !== question);
      // @ts-expect-error its code
      callback(error.code === 'ERR_CORRAL_QUEUE_FULL' ? error : errors.childClosedBeforeReply());
    });
  }

  /**
   * The peer has answered: all callbacks that wait for the same answer are called.
   *
   * @param {any} message
   */
  onReply(message) {
    const answered = this.#waiting.filter(({ cmd }) => cmd === message.cmd);
    this.#waiting = this.#waiting.filter(({ cmd }) => cmd !== message.cmd);
    for (const { callback } of answered) callback(null, message);
  }

  /** No reply will come. */
  onDisconnect() {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { callback } of waiting) callback(errors.childClosedBeforeReply());
  }

  /** @param {(error: Error | null) => void} callback called when the peer has closed all of them */
  close(callback) {
    this.#request(SOCKET_NOTIFY_CLOSE, SOCKET_ALL_CLOSED, callback);
  }

  /** @param {(error: Error | null, count?: number) => void} callback */
  getConnections(callback) {
    this.#request(SOCKET_GET_COUNT, SOCKET_COUNT, (error, reply) => {
      if (error) callback(error);
      // The sum with those of others is a number, whatever the peer says.
      else callback(null, Number.isSafeInteger(reply.count) && reply.count > 0 ? reply.count : 0);
    });
  }
}

/** How many connections of a peer's server this process has. */
class Received {
  count = 0;
  /** The peer's server is closing and waits for them. */
  isAwaited = false;
}

/** What leaves no trace of a connection with its channel. @type {WeakMap<object, () => void>} */
const leaving = new WeakMap();

/** The connections that were sent over one channel, in both directions, by the keys of the servers that accepted them. */
class SocketLists {
  #channel;
  /** @type {Map<string, SocketListSend>} */
  #sent = new Map();
  /** Those that have connections, so that there are no more than this process has descriptors. @type {Map<string, Received>} */
  #received = new Map();
  /** What Node had noted before the channel moved, which goes on to answer for its keys. */
  #ofNode = { send: /** @type {Record<string, any>} */ ({}), got: /** @type {Record<string, any>} */ ({}) };

  /** @param {Target} channel */
  constructor(channel) {
    this.#channel = channel;
    // One for all keys: the peer may think of as many as it likes. In front of the program's, whatever they throw.
    channel.prependListener('internalMessage', (/** @type {any} */ message) => this.#onMessage(message));
    // A child process that has disconnected goes on serving what it has, and is asked in vain until it ends; who is at
    // the other end of a named socket is gone, and the next one, after a reconnection, knows nothing of these.
    channel.prependListener(channel instanceof ChildProcess ? 'exit' : 'disconnect', () => this.#forget());
    // In front of that one.
    channel.prependListener('disconnect', () => {
      for (const list of this.#sent.values()) list.onDisconnect();
    });
  }

  /**
   * A channel that Node had before.
   *
   * @param {{ got: Record<string, any>, send: Record<string, any> }} lists
   */
  takeOver(lists) {
    this.#ofNode = lists;
  }

  /** How many servers of the peer's have connections here. */
  get size() {
    return this.#received.size;
  }

  #forget() {
    const sent = [...this.#sent.values()];
    this.#sent.clear();
    this.#received.clear();
    for (const list of sent) list.emit('exit', list);
  }

  /**
   * @param {string} key of a server of which a connection is sent
   * @param {(list: SocketListSend) => void} setUp is called with a new list
   */
  send(key, setUp) {
    if (this.#sent.has(key) || Object.hasOwn(this.#ofNode.send, key)) return;
    const list = new SocketListSend(this.#channel, key);
    this.#sent.set(key, list);
    setUp(list);
  }

  /**
   * @param {string} key of the peer's server, as `isKey` wants it
   * @param {import('node:net').Socket} socket that came
   */
  receive(key, socket) {
    if (Object.hasOwn(this.#ofNode.got, key)) {
      this.#ofNode.got[key].add({ socket });
      return;
    }
    const list = this.#received.get(key) ?? new Received();
    this.#received.set(key, list);
    list.count++;
    const leave = () => {
      if (!leaving.delete(socket) || --list.count > 0) return;
      if (this.#received.get(key) !== list) return;
      this.#received.delete(key);
      if (list.isAwaited) this.#reply({ cmd: SOCKET_ALL_CLOSED, key });
    };
    leaving.set(socket, leave);
    socket.once('close', leave);
  }

  /** @param {any} message */
  #onMessage(message) {
    const { cmd, key } = message;
    // The peer may give anything; an object can be no name of a property without being asked for its own.
    if (!isKey(key)) return;
    const isQuestion = cmd === SOCKET_GET_COUNT || cmd === SOCKET_NOTIFY_CLOSE;
    if (isQuestion && Object.hasOwn(this.#ofNode.got, key)) return;
    switch (cmd) {
      case SOCKET_ALL_CLOSED:
      case SOCKET_COUNT:
        this.#sent.get(key)?.onReply(message);
        break;
      case SOCKET_GET_COUNT:
        this.#reply({ cmd: SOCKET_COUNT, key, count: this.#received.get(key)?.count ?? 0 });
        break;
      case SOCKET_NOTIFY_CLOSE: {
        const list = this.#received.get(key);
        if (list !== undefined) list.isAwaited = true;
        else this.#reply({ cmd: SOCKET_ALL_CLOSED, key });
        break;
      }
    }
  }

  /** @param {any} message an answer. If it cannot be sent, that is no error of this side's */
  #reply(message) {
    if (this.#channel.connected)
      this.#channel._send(message, undefined, { swallowErrors: true, isAnswer: true });
  }
}

/** @type {WeakMap<Target, SocketLists>} */
const listsOfChannels = new WeakMap();

/** @param {Target} channel */
function socketListsOf(channel) {
  let lists = listsOfChannels.get(channel);
  if (lists === undefined) {
    lists = new SocketLists(channel);
    listsOfChannels.set(channel, lists);
  }
  return lists;
}

/**
 * A connection that came over a channel is this process's no more, though it was not closed.
 *
 * @param {import('node:net').Socket} socket
 */
function leaveSocketList(socket) {
  leaving.get(socket)?.();
}

/**
 * @param {unknown} key as a peer gives it
 * @returns {key is string}
 */
function isKey(key) {
  return typeof key === 'string' && key.length <= MAX_KEY_LENGTH;
}

module.exports = { isKey, leaveSocketList, socketListsOf };
