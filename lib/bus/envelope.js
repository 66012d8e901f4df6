'use strict';

// Messages as they are written. In a queue a message is in an envelope with its id, its headers and the time at which it was
// sent; on topics and in lists it stands alone, so that programs in other languages read it.

const v8 = require('node:v8');
const errors = require('../errors');
const { FrameReader } = require('./frames');
const { stringify } = require('./json');

/** @typedef {import('./frame-writer').FrameWriter} FrameWriter */
/** @typedef {'json' | 'advanced'} Serialization */

/** How the body of an envelope is written. */
const FORMAT = { json: 0, advanced: 1, bytes: 2 };

/** What V8's format begins with, and no JSON. */
const V8_MARK = 0xff;

/**
 * @param {unknown} message
 * @param {Serialization} serialization
 * @returns {string | Uint8Array}
 */
function write(message, serialization) {
  const text = written(message, serialization);
  if (text === undefined) throw errors.invalidArgValue('message', message, 'is nothing that JSON has');
  return text;
}

/** @param {unknown} message @param {Serialization} serialization */
function written(message, serialization) {
  try {
    return serialization === 'advanced' ? v8.serialize(message) : stringify(message);
  } catch (error) {
    throw errors.busUnwritable(error);
  }
}

/** Reads a message that stands alone. @param {Buffer} bytes @param {number} [at] where it begins @param {number} [end] */
function read(bytes, at = 0, end = bytes.length) {
  return parse(bytes, at, end, at < end && bytes[at] === V8_MARK ? FORMAT.advanced : FORMAT.json);
}

/** @param {Buffer} bytes @param {number} at @param {number} end @param {number} format */
function parse(bytes, at, end, format) {
  if (format === FORMAT.bytes) return bytes.subarray(at, end);
  try {
    // Buffers in it are parts of what it is given.
    if (format === FORMAT.advanced) return v8.deserialize(Buffer.from(bytes.subarray(at, end)));
    return JSON.parse(bytes.toString('utf8', at, end));
  } catch (error) {
    throw errors.busUnreadable(error, Buffer.from(bytes.subarray(at, end)));
  }
}

/** @param {number} size @param {number} most */
function checkSize(size, most) {
  if (size > most) throw errors.busTooLarge(size, most);
}

/**
 * Appends a message that stands alone, with its length in front.
 *
 * @param {FrameWriter} to
 * @param {string | Uint8Array} written by `write`
 * @param {number} maxMessageSize
 */
function writeWritten(to, written, maxMessageSize) {
  const start = to.open();
  to.raw(written);
  checkSize(to.length - start, maxMessageSize);
  to.close(start);
}

/**
 * A message as the body of an envelope. What it calls of the program's (toJSON, getters) may send other messages: no frame has
 * begun.
 *
 * @param {unknown} message
 * @param {Serialization} serialization
 * @returns {{ format: number, body: string | Uint8Array }}
 */
function bodyOf(message, serialization) {
  if (serialization === 'advanced' && message instanceof Uint8Array)
    return { format: FORMAT.bytes, body: message };
  return { format: FORMAT[serialization], body: write(message, serialization) };
}

/**
 * Appends an envelope, with its length in front.
 *
 * @param {FrameWriter} to
 * @param {{ format: number, body: string | Uint8Array }} written
 * @param {{ id: string, headers: string }} about `headers` are JSON, or empty
 * @param {number} maxMessageSize
 */
function writeEnvelope(to, { format, body }, { id, headers }, maxMessageSize) {
  const start = to.open();
  to.u8(format).f64(Date.now()).text(id);
  if (headers === '') to.u32(0);
  else to.long(headers);
  to.raw(body);
  checkSize(to.length - start, maxMessageSize);
  to.close(start);
}

/** What is in an envelope. The body is read when somebody wants it. */
class Envelope {
  #bytes;
  #format;
  #start;
  #end;
  /** @readonly */
  sentAt;
  /** @readonly */
  id;
  /** @readonly */
  headers;

  /** @param {Buffer} bytes @param {number} at where it begins @param {number} end */
  constructor(bytes, at, end) {
    const from = new FrameReader(bytes, at, end);
    this.#bytes = bytes;
    this.#format = from.u8();
    this.sentAt = from.f64();
    this.id = from.text();
    const headers = from.bytes();
    this.headers = headers.length === 0 ? {} : parse(headers, 0, headers.length, FORMAT.json);
    this.#start = end - from.left;
    this.#end = end;
  }

  get raw() {
    return this.#bytes.subarray(this.#start, this.#end);
  }

  read() {
    return parse(this.#bytes, this.#start, this.#end, this.#format);
  }
}

module.exports = { Envelope, bodyOf, read, write, writeEnvelope, writeWritten };
