'use strict';

// Bytes of a connection into frames: whatever stands in front of a delimiter.

const errors = require('./errors');

const SMALLEST_BUFFER = 4096;

class Frames {
  /** @type {Buffer} */
  #delimiter;
  #limit;
  /** The bytes that have come and have not been taken are in [start, end) of it. @type {Buffer} */
  #bytes = Buffer.alloc(0);
  #start = 0;
  #end = 0;
  /** Up to here there is no delimiter. */
  #searched = 0;

  /**
   * @param {string} delimiter
   * @param {number} limit the largest frame, in bytes
   */
  constructor(delimiter, limit) {
    this.#delimiter = Buffer.from(delimiter);
    this.#limit = limit;
  }

  /** Bytes of a frame whose end has not come. */
  get pending() {
    return this.#end - this.#start;
  }

  /** @param {Buffer} chunk kept until its frames are taken */
  add(chunk) {
    if (this.pending === 0) {
      // Most chunks end with a frame: these are not copied.
      this.#bytes = chunk;
      this.#start = 0;
      this.#searched = 0;
      this.#end = chunk.length;
      return;
    }
    this.#makeRoom(chunk.length);
    chunk.copy(this.#bytes, this.#end);
    this.#end += chunk.length;
  }

  /**
   * Takes the next frame.
   *
   * @returns {string | undefined} nothing while its end is missing
   * @throws ERR_CORRAL_MESSAGE_TOO_LARGE, after which nothing more can be had from this connection
   */
  next() {
    const bytes = this.#bytes.subarray(0, this.#end);
    const found = bytes.indexOf(this.#delimiter, this.#searched);
    const end = found < 0 ? this.#end : found;
    if (end - this.#start > this.#limit) throw errors.tooLarge(this.#limit);
    if (found < 0) {
      // The delimiter may have begun: all of it but one byte.
      this.#searched = Math.max(this.#start, this.#end - this.#delimiter.length + 1);
      return undefined;
    }
    // Only whole frames become text: a character that two chunks share is whole by now.
    const frame = bytes.toString('utf8', this.#start, found);
    this.#start = found + this.#delimiter.length;
    this.#searched = this.#start;
    if (this.pending === 0) this.#bytes = Buffer.alloc(0);
    return frame;
  }

  /**
   * Grows to twice its size, so that a large frame in many chunks is not copied once for each of them.
   *
   * @param {number} more
   */
  #makeRoom(more) {
    // A chunk is not ours to write to, and is full: it has no room behind its end.
    if (this.#end + more <= this.#bytes.length) return;
    const { pending } = this;
    const larger = Buffer.allocUnsafeSlow(Math.max(SMALLEST_BUFFER, 2 * (pending + more)));
    this.#bytes.copy(larger, 0, this.#start, this.#end);
    this.#searched -= this.#start;
    this.#bytes = larger;
    this.#start = 0;
    this.#end = pending;
  }
}

module.exports = { Frames };
