'use strict';

// Messages on the wire: JSON with a delimiter behind it, in UTF-8, or just the program's bytes (config.rawBuffer).

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
 * The data that node-ipc sends in place of nothing, and of a socket.
 *
 * @param {unknown} data
 */
function payload(data) {
  if (data === false || data === 0) return data;
  return !data || data instanceof EventEmitter ? {} : data;
}

/**
 * @param {string} text
 * @returns {{ message: { type: string, data: any } } | { message: undefined, fault: () => Error }} a fault that is not reported costs
 *   no error
 */
function read(text) {
  let parsed;
  try {
    // An empty frame is read again when it is reported: many of them cost little.
    if (text !== '') parsed = JSON.parse(text);
  } catch (error) {
    return { message: undefined, fault: () => badMessage('is not JSON', text, error) };
  }
  const type = parsed?.type;
  if (typeof type === 'string' || typeof type === 'number') {
    return { message: { type: String(type), data: parsed.data } };
  }
  return {
    message: undefined,
    fault: () =>
      badMessage(text === '' ? 'is not JSON' : 'has no type', text, text === '' ? nothing() : undefined),
  };
}

/** The error of JSON for nothing. */
function nothing() {
  try {
    return JSON.parse('');
  } catch (error) {
    return error;
  }
}

module.exports = { encode, framesOf, read };
