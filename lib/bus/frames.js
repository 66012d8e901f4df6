'use strict';

// Frames between a bus and its engine, as bytes: bus/src/protocol has the other side, and says what the fields are.

const { create } = require('../errors');

/** The version of the protocol. */
const VERSION = 1;

/** The largest frame that is believed. An answer has several messages. */
const MAX_FRAME = 256 * 1024 * 1024;

/** The largest request that an engine takes, with its length in front: `MAX_FRAME` in bus/src/protocol. */
const LARGEST = 65 * 1024 * 1024 + 4;

/** Kinds of requests. */
const KIND = {
  hello: 1,
  declare: 2,
  send: 3,
  ack: 4,
  nack: 5,
  publish: 6,
  transaction: 7,
  receive: 8,
  cancel: 9,
  extend: 10,
  peek: 11,
  stats: 12,
  purge: 13,
  drain: 14,
  delete: 15,
  queues: 16,
  subscribe: 17,
  unsubscribe: 18,
  credit: 19,
  bye: 20,
  rsmq: 21,
};

/** Kinds of replies. */
const REPLY = {
  welcome: 101,
  done: 102,
  duplicate: 103,
  failed: 104,
  messages: 105,
  stats: 106,
  count: 107,
  names: 108,
  event: 109,
  ended: 110,
  fatal: 111,
  down: 112,
  up: 113,
  values: 114,
};

const SPACE = { queue: 0, list: 1 };

/** A duration without an end. */
const FOREVER = Number.POSITIVE_INFINITY;

/** How many bytes the length in front of a frame has. */
const PREFIX = 4;

/** Length, kind and sequence number. */
const HEAD = 13;

/** For a frame so long memory is taken as soon as its length has come. */
const AT_ONCE = 1 << 20;

const TWO_32 = 2 ** 32;

const NOTHING = Buffer.alloc(0);

/** @param {string} what */
const malformed = (what) => create(Error, 'ERR_CORRAL_BUS_PROTOCOL', `The engine has sent ${what}`);

/** Reads the fields of frames, and never beyond the one that it is at. */
class FrameReader {
  #bytes;
  #at;
  #end;
  /** Whether the bytes are others when this turn is over. */
  #isPassing;
  /** The text that `repeated` has read last: it is looked at as bytes, and is a text already if it is the same one. */
  #lastText = '';
  #lastBytes = NOTHING;

  /**
   * @param {Buffer} bytes
   * @param {number} at where the frame begins, behind its length
   * @param {number} end
   * @param {boolean} [isPassing]
   */
  constructor(bytes, at, end, isPassing = false) {
    this.#bytes = bytes;
    this.#at = at;
    this.#end = end;
    this.#isPassing = isPassing;
  }

  /** Goes to a frame. @param {Buffer} bytes @param {number} at @param {number} end @param {boolean} isPassing */
  move(bytes, at, end, isPassing) {
    this.#bytes = bytes;
    this.#at = at;
    this.#end = end;
    this.#isPassing = isPassing;
  }

  /** What is left of the frame stays as it is from now on. */
  keep() {
    if (!this.#isPassing) return;
    this.#bytes = copy(this.#bytes, this.#at, this.#end);
    this.#end -= this.#at;
    this.#at = 0;
    this.#isPassing = false;
  }

  /** @param {number} count @returns {number} where they begin */
  #take(count) {
    const at = this.#at;
    if (at + count > this.#end) throw malformed('a frame that ends before its last field');
    this.#at = at + count;
    return at;
  }

  u8() {
    return this.#bytes[this.#take(1)];
  }

  u32() {
    return this.#bytes.readUInt32LE(this.#take(4));
  }

  u64() {
    const at = this.#take(8);
    return this.#bytes.readUInt32LE(at) + TWO_32 * this.#bytes.readUInt32LE(at + 4);
  }

  f64() {
    return this.#bytes.readDoubleLE(this.#take(8));
  }

  text() {
    const length = this.#bytes.readUInt16LE(this.#take(2));
    const at = this.#take(length);
    return length === 0 ? '' : this.#bytes.toString('utf8', at, at + length);
  }

  /** A text that is as a rule the one that was read here before. */
  repeated() {
    const length = this.#bytes.readUInt16LE(this.#take(2));
    const at = this.#take(length);
    if (!this.#isLast(at, length)) {
      this.#lastBytes = copy(this.#bytes, at, at + length);
      this.#lastText = this.#lastBytes.toString();
    }
    return this.#lastText;
  }

  /** @param {number} at @param {number} length */
  #isLast(at, length) {
    if (length !== this.#lastBytes.length) return false;
    for (let i = 0; i < length; i += 1) if (this.#bytes[at + i] !== this.#lastBytes[i]) return false;
    return true;
  }

  bytes() {
    const length = this.u32();
    const at = this.#take(length);
    return this.#isPassing ? copy(this.#bytes, at, at + length) : this.#bytes.subarray(at, at + length);
  }

  /** Goes behind bytes, which are in `source` up to `at` then, for as long as the frame is. @returns {number} how many */
  skip() {
    const length = this.u32();
    this.#take(length);
    return length;
  }

  get source() {
    return this.#bytes;
  }

  get at() {
    return this.#at;
  }

  /** How many bytes are left. */
  get left() {
    return this.#end - this.#at;
  }
}

/** Cuts a stream of bytes into frames. */
class FrameCutter {
  /** A frame of which something has come, and how much. */
  #begun = NOTHING;
  #length = 0;
  #reader = new FrameReader(NOTHING, 0, 0);
  #onFrame;

  /** @param {(from: FrameReader) => boolean} onFrame gets each frame that is whole, as long as the call lasts; false if the stream is over */
  constructor(onFrame) {
    this.#onFrame = onFrame;
  }

  /** @param {Buffer} bytes which are the caller's again afterwards @param {number} end how many of them have come */
  push(bytes, end) {
    let at = 0;
    while (this.#length > 0) {
      const needed = this.#length < PREFIX ? PREFIX : PREFIX + lengthAt(this.#begun, 0);
      if (this.#length === needed) {
        const begun = this.#begun;
        this.#length = 0;
        this.#begun = NOTHING;
        this.#reader.move(begun, PREFIX, needed, false);
        if (!this.#onFrame(this.#reader)) return;
        break;
      }
      if (at === end) return;
      at += this.#add(bytes, at, end, needed);
    }
    while (end - at >= PREFIX) {
      const next = at + PREFIX + lengthAt(bytes, at);
      if (next > end) break;
      this.#reader.move(bytes, at + PREFIX, next, true);
      if (!this.#onFrame(this.#reader)) return;
      at = next;
    }
    if (at < end) this.#add(bytes, at, end, end - at);
  }

  /**
   * Keeps what belongs to the frame that has begun.
   *
   * @param {Buffer} bytes
   * @param {number} at
   * @param {number} end
   * @param {number} needed how many bytes it is to have then
   * @returns {number} how many it has taken
   */
  #add(bytes, at, end, needed) {
    const count = Math.min(needed - this.#length, end - at);
    const length = this.#length + count;
    if (length > this.#begun.length) {
      // As it is announced, unless that is very much.
      const larger = Buffer.allocUnsafeSlow(
        Math.max(length, Math.min(needed, AT_ONCE), 2 * this.#begun.length),
      );
      this.#begun.copy(larger, 0, 0, this.#length);
      this.#begun = larger;
    }
    bytes.copy(this.#begun, this.#length, at, at + count);
    this.#length = length;
    return count;
  }
}

/** @param {Buffer} bytes @param {number} at @param {number} end */
const copy = (bytes, at, end) => Buffer.from(bytes.subarray(at, end));

/** @param {Buffer} bytes @param {number} at @returns {number} the length of the frame that begins there */
function lengthAt(bytes, at) {
  const length = bytes.readUInt32LE(at);
  if (length > MAX_FRAME) throw malformed(`a frame of ${length} bytes`);
  return length;
}

module.exports = {
  FOREVER,
  FrameCutter,
  FrameReader,
  HEAD,
  KIND,
  LARGEST,
  PREFIX,
  REPLY,
  SPACE,
  TWO_32,
  VERSION,
  malformed,
};
