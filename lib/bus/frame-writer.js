'use strict';

// Frames as they are written: one behind the other in memory that they share, so that all that goes out together is one piece,
// and nothing is copied. That memory is used again when all that was in it has been answered.

const { FOREVER, PREFIX, TWO_32 } = require('./frames');

/** How many bytes of frames share a piece of memory; the first piece is small, as many buses send little. */
const SLAB = 64 * 1024;
const FIRST_SLAB = 4 * 1024;

/** Texts of at most so many characters are written here, if they are ASCII: a call into the runtime costs more. */
const SHORT = 40;

/** From so many characters on a text is measured first; of shorter ones it is cheaper to have room for the longest that they can be. */
const LONG = 16 * 1024;

/** A piece of memory, and how many want something that is in it. */
class Slab {
  users = 0;
  /** Whether it may be used again: a socket may read it still. */
  isReusable = true;

  /** @param {Buffer} bytes */
  constructor(bytes) {
    this.bytes = bytes;
  }
}

/** Writes frames, one at a time. */
class FrameWriter {
  #slab = new Slab(Buffer.allocUnsafeSlow(FIRST_SLAB));
  /** @type {Slab | undefined} one that nobody uses */
  #spare;
  /** Where the frame that is written begins, and where it is. */
  #start = 0;
  #at = 0;
  /** Where the last one ended: what was begun and not ended is written over. */
  #end = 0;

  /** @param {number} kind @param {number} sequence */
  begin(kind, sequence) {
    this.#start = this.#end;
    this.#at = this.#start;
    this.#reserve(PREFIX);
    this.#at += PREFIX;
    return this.u8(kind).u64(sequence);
  }

  /** @param {number} count of bytes */
  #reserve(count) {
    if (this.#at + count > this.#slab.bytes.length) this.#change(count);
  }

  /** Goes on in another slab, where there is room. @param {number} count of bytes */
  #change(count) {
    const length = this.#at - this.#start;
    const former = this.#slab;
    const needed = length + count;
    if (needed > SLAB) {
      this.#slab = new Slab(Buffer.allocUnsafeSlow(Math.max(needed, 2 * length)));
    } else {
      this.#slab = this.#spare ?? new Slab(Buffer.allocUnsafeSlow(SLAB));
      this.#spare = undefined;
    }
    former.bytes.copy(this.#slab.bytes, 0, this.#start, this.#at);
    this.#start = 0;
    this.#at = length;
    this.#end = 0;
    this.#keep(former);
  }

  /** @param {Slab} slab that is not written to now */
  #keep(slab) {
    if (slab.users === 0 && slab.isReusable && slab.bytes.length === SLAB) this.#spare = slab;
  }

  /** @param {number} value */
  u8(value) {
    this.#reserve(1);
    this.#slab.bytes[this.#at++] = value;
    return this;
  }

  /** @param {number} value */
  u32(value) {
    this.#reserve(4);
    this.#at = this.#slab.bytes.writeUInt32LE(value, this.#at);
    return this;
  }

  /** @param {number} value an integer, or FOREVER */
  u64(value) {
    this.#reserve(8);
    const { bytes } = this.#slab;
    const isForever = value === FOREVER;
    const high = Math.floor(value / TWO_32);
    this.#at = bytes.writeUInt32LE(isForever ? TWO_32 - 1 : value - high * TWO_32, this.#at);
    this.#at = bytes.writeUInt32LE(isForever ? TWO_32 - 1 : high, this.#at);
    return this;
  }

  /** @param {number} value */
  f64(value) {
    this.#reserve(8);
    this.#at = this.#slab.bytes.writeDoubleLE(value, this.#at);
    return this;
  }

  /** @param {string} value of at most 65,535 bytes */
  text(value) {
    this.#reserve(2 + 3 * value.length);
    const { bytes } = this.#slab;
    const start = this.#at + 2;
    let length = value.length <= SHORT ? writeAscii(bytes, value, start) : -1;
    if (length < 0) length = bytes.write(value, start);
    bytes.writeUInt16LE(length, this.#at);
    this.#at = start + length;
    return this;
  }

  /** @param {string} value as bytes, whose length is in front */
  long(value) {
    const start = this.open();
    return this.raw(value).close(start);
  }

  /** @param {string | Uint8Array} value with nothing in front */
  raw(value) {
    if (typeof value === 'string') {
      this.#reserve(value.length < LONG ? 3 * value.length : Buffer.byteLength(value));
      this.#at += this.#slab.bytes.write(value, this.#at);
    } else {
      this.#reserve(value.length);
      this.#slab.bytes.set(value, this.#at);
      this.#at += value.length;
    }
    return this;
  }

  /** @param {Uint8Array} value */
  bytes(value) {
    return this.u32(value.length).raw(value);
  }

  /** Begins bytes whose length is not known yet; `close` ends them. @returns {number} what `close` takes */
  open() {
    this.u32(0);
    return this.#at - this.#start;
  }

  /** @param {number} from of `open` */
  close(from) {
    const at = this.#start + from;
    this.#slab.bytes.writeUInt32LE(this.#at - at, at - 4);
    return this;
  }

  /** How many bytes the frame has so far. */
  get length() {
    return this.#at - this.#start;
  }

  /** Ends the frame, which is in the slab of `piece` then, up to `end` of it. @returns {number} where it ends */
  finish() {
    const { bytes } = this.#slab;
    bytes.writeUInt32LE(this.#at - this.#start - PREFIX, this.#start);
    this.#end = this.#at;
    return this.#end;
  }

  /** The memory in which the frame is that was finished. */
  get slab() {
    return this.#slab;
  }

  /** Gives up the frame that was begun. */
  abandon() {
    if (this.#slab.users === 0 && this.#slab.bytes.length > SLAB) this.#renew();
  }

  /** Gives up the frame that was finished. */
  drop() {
    this.#end = this.#start;
  }

  /** @returns {Buffer} the frame, in memory of its own */
  end() {
    const frame = Buffer.from(this.#slab.bytes.subarray(this.#start, this.finish()));
    this.drop();
    return frame;
  }

  /** Somebody does not want any more what is in a slab. @param {Slab} slab */
  release(slab) {
    slab.users -= 1;
    if (slab.users > 0) return;
    if (slab !== this.#slab) this.#keep(slab);
    // Nobody is in between: a frame is written within one call.
    else if (slab.bytes.length > SLAB) this.#renew();
    else if (slab.isReusable) this.#end = 0;
  }

  /** Goes on in a slab of the usual size: what one large frame has needed is not kept for others. */
  #renew() {
    this.#slab = this.#spare ?? new Slab(Buffer.allocUnsafeSlow(SLAB));
    this.#spare = undefined;
    this.#end = 0;
  }
}

/** @param {Buffer} bytes @param {string} value @param {number} at @returns {number} how many were written; -1 if it is no ASCII */
function writeAscii(bytes, value, at) {
  const { length } = value;
  for (let i = 0; i < length; i += 1) {
    const code = value.charCodeAt(i);
    if (code > 0x7f) return -1;
    bytes[at + i] = code;
  }
  return length;
}

module.exports = { FrameWriter, Slab };
