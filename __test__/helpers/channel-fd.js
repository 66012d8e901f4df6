'use strict';

// A worker's own end of its channel, past everything that Node does with it.

const fs = require('node:fs');
const v8 = require('node:v8');

const { workerChannel } = require('../../lib/worker/moved-channel');

/** Of the socket that the channel of this process is on by now. */
function channelFd() {
  return workerChannel()?.fd ?? /** @type {any} */ (process.channel).fd;
}

/**
 * Writes bytes on the channel of this process, or on another.
 *
 * @param {string | Buffer} bytes
 * @param {number} [fd]
 */
function writeRaw(bytes, fd = channelFd()) {
  let rest = Buffer.from(/** @type {any} */ (bytes));
  while (rest.length > 0) {
    try {
      rest = rest.subarray(fs.writeSync(fd, rest));
    } catch (error) {
      // The primary reads on a thread of its own: it makes room whatever this process does meanwhile.
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EAGAIN') throw error;
    }
  }
}

/** For how long nobody reads from a channel that is taken for one that nobody reads from at all. Too early only makes a check easier to pass. */
const STUCK_MS = 300;
/** And for how long from one that is to be read, on a machine that is busy. */
const NEVER_READ_MS = 60_000;

/**
 * Writes bytes on the channel of this process, but does not wait for a primary that reads no more.
 *
 * @param {Buffer} bytes
 * @param {number} [patience] for how long nobody may read, in milliseconds
 * @returns {boolean} whether all were written
 */
function writeUnlessStuck(bytes, patience = STUCK_MS) {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  let rest = bytes;
  let last = Date.now();
  while (rest.length > 0) {
    try {
      rest = rest.subarray(fs.writeSync(channelFd(), rest));
      last = Date.now();
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EAGAIN') throw error;
      if (Date.now() - last > patience) return false;
      Atomics.wait(cell, 0, 0, 5);
    }
  }
  return true;
}

/**
 * Writes bytes with a descriptor on the first of them, on the socket that Node has: for a channel that does not move.
 *
 * @param {string} text
 * @param {any} handle of a net.Socket or net.Server
 */
function writeWithHandle(text, handle) {
  const symbol = Object.getOwnPropertySymbols(process).find(
    ({ description }) => description === 'kChannelHandle',
  );
  if (symbol === undefined) throw new Error('this Node keeps its channel somewhere else');
  // @ts-expect-error the only way to the class of a write request
  const { WriteWrap } = process.binding('stream_wrap');
  const status = /** @type {any} */ (process)[symbol].writeLatin1String(new WriteWrap(), text, handle);
  if (status !== 0) throw new Error(`writing to the channel failed: ${status}`);
}

/**
 * What the other side answers to handles that this process sends past Node.
 *
 * @param {(cmd: string) => void} onAnswer 'NODE_HANDLE_ACK' or 'NODE_HANDLE_NACK'
 */
function onHandleAnswer(onAnswer) {
  process.prependListener(/** @type {any} */ ('internalMessage'), (/** @type {any} */ { cmd }) => {
    if (cmd !== 'NODE_HANDLE_ACK' && cmd !== 'NODE_HANDLE_NACK') return;
    // Node's own listener comes next. It asserts that Node itself has sent a handle.
    /** @type {any} */ (process)._handleQueue ??= [];
    onAnswer(cmd);
  });
}

/** @param {Buffer} body as a frame of 'advanced' */
function prefixed(body) {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
}

/**
 * A message as a frame.
 *
 * @param {string} mode
 * @param {unknown} message
 */
function frame(mode, message) {
  return mode === 'advanced' ? prefixed(v8.serialize(message)) : Buffer.from(`${JSON.stringify(message)}\n`);
}

/** What the first piece of a frame begins at a multiple of, and fills. */
const ALIGNMENT = 8;

/**
 * A frame of JSON that brings strings along, as one corral sends it to another.
 *
 * @param {unknown} paths
 * @param {unknown} message
 * @param {string[]} pieces
 */
function apart(paths, message, ...pieces) {
  const text = `${JSON.stringify([paths, message])}\n`;
  const lengths = pieces.map((piece) => `l${piece.length}`).join('');
  const tail = `;${text}`;
  const missing = -(1 + lengths.length + tail.length) & (ALIGNMENT - 1);
  // Leading zeros of the last length.
  const head = `\x01${lengths.replace(/\d+$/, (digits) => '0'.repeat(missing) + digits)}${tail}`;
  const filled = pieces.map((piece) => piece.padEnd(Math.ceil(piece.length / ALIGNMENT) * ALIGNMENT, '\0'));
  return Buffer.from(head + filled.join(''), 'latin1');
}

module.exports = {
  NEVER_READ_MS,
  apart,
  channelFd,
  frame,
  onHandleAnswer,
  prefixed,
  writeRaw,
  writeUnlessStuck,
  writeWithHandle,
};
