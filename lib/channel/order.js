'use strict';

// The order of the events of a channel and of the process at its other end. The ticks that make it are all in this file.
//
// Node gives, for one peer:
//   1. 'message', 'internalMessage' and what follows from them ('online', 'listening'), as they were sent;
//   2. 'disconnect';
//   3. 'exit', and 'close' once the channel and the streams have closed too.
// Each message has a tick of its own. 'disconnect' and 'exit' follow each from an event of libuv's: the read that finds the
// end, and SIGCHLD. Between two events of libuv's all ticks run, and then all promise jobs. So a program that awaits a message
// has gone on when 'disconnect' comes, and one that awaits 'disconnect' has when 'exit' comes. (lib/internal/child_process.js,
// setupChannel and ChildProcess; seen on Node 20, 22, 24 and 26.)
//
// The core passes on several of these in one call into JavaScript. The gap between two events of libuv's has to be made:
// `asNextEvent` does.
//
// A channel over a named socket has no process. Its 'close' comes in a tick behind 'disconnect' (lib/ipc/channel.js).
//
// Node leaves to chance whether it sees the end of the channel or that of the process first. corral promises the order above,
// which the tests of parity compare with the built-in (__test__/parity/differences.js). So 'exit' waits here for 'disconnect'.

/**
 * Calls back in a tick of its own, behind those that are waiting.
 *
 * @param {() => void} callback
 */
function inOwnTick(callback) {
  process.nextTick(callback);
}

/**
 * Calls back when all ticks and all promise jobs that are waiting have run, as if libuv had come with another event. A tick alone
 * comes before the promise jobs. To be called in a tick or in a call of libuv's, and not in a promise job.
 *
 * @param {() => void} callback
 */
function asNextEvent(callback) {
  queueMicrotask(() => process.nextTick(callback));
}

/**
 * @param {import('./incoming').Incoming} incoming
 * @param {any} message
 * @param {any} handle
 * @param {number} bytes
 */
function emitMessage(incoming, message, handle, bytes) {
  incoming.emit(message, handle, bytes);
}

/**
 * Emits a message in a tick of its own. Without a closure, as there are many of them.
 *
 * @param {import('./incoming').Incoming} incoming
 * @param {any} message
 * @param {any} handle
 * @param {number} bytes that it came with
 */
function tellMessage(incoming, message, handle, bytes) {
  process.nextTick(emitMessage, incoming, message, handle, bytes);
}

/** What has to come behind the ends of the channels of one reactor. */
class Ends {
  #keepAlive;
  /** What is called back behind the end of a channel, by the channel's number. @type {Map<number, () => void>} */
  #waiting = new Map();

  /** @param {import('../util/keep-alive').KeepAlive} keepAlive of this process, which stays while something waits */
  constructor(keepAlive) {
    this.#keepAlive = keepAlive;
  }

  /**
   * The core has passed on the last event of a channel. The channel's end comes next, behind the messages: their listeners still
   * find it connected.
   *
   * @param {number} id
   * @param {() => void} end emits 'disconnect' in a tick of its own
   */
  closed(id, end) {
    asNextEvent(() => {
      try {
        end();
      } finally {
        this.#callBack(id);
      }
    });
  }

  /** @param {number} id */
  #callBack(id) {
    const callback = this.#waiting.get(id);
    if (callback === undefined) return;
    this.#waiting.delete(id);
    this.#keepAlive.release();
    callback();
  }

  /**
   * Calls back behind the channel's messages, in front of the tick of its 'disconnect'.
   *
   * @param {number} id
   * @param {boolean} isOpen whether its end is still to come from the core, and will soon
   * @param {() => void} callback
   */
  behindMessages(id, isOpen, callback) {
    if (!isOpen) {
      // Its end may have come in this turn.
      asNextEvent(callback);
      return;
    }
    this.#keepAlive.hold();
    this.#waiting.set(id, callback);
  }

  /**
   * As `behindMessages`, and behind 'disconnect': 'exit' is an event of its own to libuv.
   *
   * @param {number} id
   * @param {boolean} isOpen
   * @param {() => void} callback
   */
  behindDisconnect(id, isOpen, callback) {
    this.behindMessages(id, isOpen, () => asNextEvent(callback));
  }
}

module.exports = { Ends, asNextEvent, inOwnTick, tellMessage };
