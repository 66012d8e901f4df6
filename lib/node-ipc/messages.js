'use strict';

// What is on the wire: JSON with a delimiter behind it, in UTF-8, or just the program's bytes (config.rawBuffer).

const { EventEmitter } = require('node:events');

const { DELIMITER, MAX_MESSAGE_SIZE } = require('./defaults');
const { badMessage } = require('./errors');
const { Frames } = require('./frames');

/** @typedef {import('../../node-ipc').Config} Config */

/** @param {Config} config an empty delimiter separates nothing */
const delimiterOf = (config) => config.delimiter || DELIMITER;

/** @param {Config} config */
const framesOf = (config) => new Frames(delimiterOf(config), config.maxMessageSize ?? MAX_MESSAGE_SIZE);

/**
 * @param {Config} config
 * @param {any} type the data itself where buffers are raw
 * @param {unknown} [data]
 * @returns {Buffer}
 */
function encode(config, type, data) {
  if (config.rawBuffer) return Buffer.from(type, config.encoding);
  return Buffer.from(JSON.stringify({ type, data: payload(data) }) + delimiterOf(config));
}

/**
 * What node-ipc sends in place of nothing, and of a socket that was taken for data.
 *
 * @param {unknown} data
 */
function payload(data) {
  if (data === false || data === 0) return data;
  return !data || data instanceof EventEmitter ? {} : data;
}

/**
 * @param {string} text
 * @returns {{ type: string, data: any }}
 * @throws ERR_CORRAL_BAD_MESSAGE
 */
function decode(text) {
  let message;
  try {
    message = JSON.parse(text);
  } catch (error) {
    throw badMessage('is not JSON', text, error);
  }
  const type = message?.type;
  if (typeof type !== 'string' && typeof type !== 'number') throw badMessage('has no type', text);
  return { type: String(type), data: message.data };
}

/**
 * Who takes what a connection receives.
 * @typedef {object} Taker
 * @property {(bytes: Buffer) => void} bytes
 * @property {(type: string, data: any) => void} message
 * @property {(error: Error) => void} error
 */

/**
 * @param {Config} config
 * @param {Frames} frames
 * @param {Buffer} chunk
 * @param {Taker} taker
 * @returns {boolean} whether anything whole was in it
 * @throws ERR_CORRAL_MESSAGE_TOO_LARGE
 */
function take(config, frames, chunk, taker) {
  if (config.rawBuffer) {
    taker.bytes(chunk);
    return true;
  }
  frames.add(chunk);
  let any = false;
  for (let text = frames.next(); text !== undefined; text = frames.next()) {
    any = true;
    deliver(text, taker);
  }
  return any;
}

/**
 * @param {string} text
 * @param {Taker} taker
 */
function deliver(text, taker) {
  let message;
  try {
    message = decode(text);
  } catch (error) {
    taker.error(/** @type {Error} */ (error));
    return;
  }
  taker.message(message.type, message.data);
}

/**
 * The messages of a stream. One that is too large ends it: where the next begins is not known.
 *
 * @param {import('node:net').Socket} socket
 * @param {Config} config
 * @param {Taker & { answered?: () => void }} taker answered: called after each chunk that had anything whole in it
 */
function receive(socket, config, taker) {
  const frames = framesOf(config);
  socket.on('data', (chunk) => {
    try {
      if (take(config, frames, chunk, taker)) taker.answered?.();
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ERR_CORRAL_MESSAGE_TOO_LARGE') throw error;
      socket.destroy();
      taker.error(/** @type {Error} */ (error));
    }
  });
}

/**
 * The messages of a datagram, which has them whole.
 *
 * @param {Buffer} datagram
 * @param {Config} config
 * @param {Taker} taker
 */
function receiveDatagram(datagram, config, taker) {
  const frames = framesOf(config);
  take(config, frames, datagram, taker);
  if (frames.pending > 0) taker.error(badMessage('has no end', datagram.toString()));
}

module.exports = { encode, receive, receiveDatagram };
