'use strict';

// Messages over a stream of bytes: each is one line of JSON. For examples that speak over pipes and sockets; it does
// nothing when it is run.
//
// A stream has no messages, only bytes in order: what was written in one piece may arrive in several, also split
// inside a character, and what was written in several pieces may arrive in one.

const { EventEmitter } = require('node:events');
const { StringDecoder } = require('node:string_decoder');

/** In UTF-16 units. Who never sends the end of a line must not fill our memory. */
const LONGEST_LINE = 1 << 20;

/** Bytes into lines, however the bytes are cut. */
class LineSplitter {
  /** Keeps the first bytes of a character until the others come. */
  #decoder = new StringDecoder('utf8');
  /** What came after the last end of a line. */
  rest = '';

  /**
   * @param {Buffer} chunk
   * @returns {string[]} the lines that end in it, without their ends
   */
  push(chunk) {
    const lines = (this.rest + this.#decoder.write(chunk)).split('\n');
    this.rest = /** @type {string} */ (lines.pop());
    return lines;
  }

  /** After the last chunk: a character of which bytes are missing becomes a part of the rest. */
  end() {
    this.rest += this.#decoder.end();
  }
}

/**
 * Two streams as a channel for messages. Events: 'message' with what the other side sent; 'end' when it will send no
 * more; 'error' with what is wrong with a stream or with what came on it.
 */
class JsonLines extends EventEmitter {
  #writable;

  /**
   * @param {import('node:stream').Readable} readable what the other side writes to
   * @param {import('node:stream').Writable} writable what it reads from: for a socket, the same one
   */
  constructor(readable, writable) {
    super();
    this.#writable = writable;
    const splitter = new LineSplitter();
    readable.on('data', (chunk) => {
      for (const line of splitter.push(chunk)) this.#receive(line);
      if (splitter.rest.length > LONGEST_LINE) readable.destroy(new RangeError('a line is too long'));
    });
    readable.on('end', () => {
      splitter.end();
      if (splitter.rest !== '')
        this.emit('error', new Error(`the end came within a message: ${splitter.rest}`));
      this.emit('end');
    });
    for (const stream of new Set([readable, writable])) {
      stream.on('error', (error) => this.emit('error', error));
    }
  }

  /**
   * @param {unknown} message anything that JSON can say; its text has no end of a line in it
   * @returns {boolean} false when more than enough is waiting already, as with stream.write()
   */
  send(message) {
    return this.#writable.write(`${JSON.stringify(message)}\n`);
  }

  /** After the last message. */
  end() {
    this.#writable.end();
  }

  /** @param {string} line */
  #receive(line) {
    let message;
    try {
      message = JSON.parse(line);
    } catch {
      // Such as a console.log() of the other side on the same stdout. The next line may be a message again.
      this.emit('error', new Error(`not a message: ${line}`));
      return;
    }
    this.emit('message', message);
  }
}

module.exports = { JsonLines, LineSplitter, LONGEST_LINE };
