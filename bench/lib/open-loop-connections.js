'use strict';

// The connections on which the load generator of the mixed bench sends its requests.

const net = require('node:net');

/**
 * @typedef {object} Requests
 * @property {{ path: string, port: number }[]} kinds what a request of each kind asks for, and where
 * @property {(index: number) => void} onAnswer called with what send() was called with
 * @property {() => void} onFailure
 */

const HOST = '127.0.0.1';
/** How every answer ends that the workers give. */
const END_OF_ANSWER = Buffer.from('\r\n\r\nok');
const DIGIT_2 = '2'.charCodeAt(0);
/** Where the status code stands in `HTTP/1.1 200 OK`. */
const STATUS_OFFSET = 9;

// All sockets read into this one: what arrives is looked at before the next read.
const readBuffer = Buffer.allocUnsafe(64 * 1024);

/** An answer that may come in several parts. */
class Answer {
  /** @type {Buffer | undefined} what has come of one that is not complete */
  #part;

  /**
   * @param {Buffer} data what has come, valid during this call
   * @returns {boolean} whether it is complete
   */
  push(data) {
    const all = this.#part === undefined ? data : Buffer.concat([this.#part, data]);
    const tail = all.length - END_OF_ANSWER.length;
    if (tail > STATUS_OFFSET && all.compare(END_OF_ANSWER, 0, undefined, tail) === 0) {
      this.isSuccess = all[STATUS_OFFSET] === DIGIT_2;
      this.#part = undefined;
      return true;
    }
    this.#part = Buffer.from(all);
    return false;
  }

  /** Of the last complete one. */
  isSuccess = false;
}

/** One connection for each request. */
class ClosedConnections {
  #requests;
  #texts;
  /** @type {Set<net.Socket>} */
  #open = new Set();

  /** @param {Requests} requests */
  constructor(requests) {
    this.#requests = requests;
    this.#texts = requests.kinds.map(({ path }) =>
      Buffer.from(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`),
    );
  }

  /**
   * @param {number} index the request's
   * @param {number} kind
   */
  send(index, kind) {
    const answer = new Answer();
    let isAnswered = false;
    const socket = net.connect({
      host: HOST,
      port: this.#requests.kinds[kind].port,
      onread: {
        buffer: readBuffer,
        callback: (length) => {
          if (!isAnswered && answer.push(readBuffer.subarray(0, length)) && answer.isSuccess) {
            isAnswered = true;
            this.#requests.onAnswer(index);
          }
          return true;
        },
      },
    });
    this.#open.add(socket);
    socket.write(this.#texts[kind]);
    // 'close' follows, which is where it counts.
    socket.on('error', () => {});
    socket.on('close', () => {
      if (this.#open.delete(socket) && !isAnswered) this.#requests.onFailure();
    });
  }

  /** Closes those that are still open. What was under way on them counts neither as answered nor as failed. */
  destroy() {
    const sockets = [...this.#open];
    this.#open.clear();
    for (const socket of sockets) socket.destroy();
  }
}

module.exports = { ClosedConnections };
