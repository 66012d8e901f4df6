'use strict';

// A worker's own end of its channel, past everything that Node does with it.

const fs = require('node:fs');
const v8 = require('node:v8');

/**
 * Writes bytes on the channel of this process.
 *
 * @param {string | Buffer} bytes
 */
function writeRaw(bytes) {
  let rest = Buffer.from(/** @type {any} */ (bytes));
  while (rest.length > 0) {
    try {
      rest = rest.subarray(fs.writeSync(/** @type {any} */ (process.channel).fd, rest));
    } catch (error) {
      // The primary reads on a thread of its own: it makes room whatever this process does meanwhile.
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EAGAIN') throw error;
    }
  }
}

/**
 * Writes bytes with a descriptor on the first of them.
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

module.exports = { frame, prefixed, writeRaw, writeWithHandle };
