'use strict';

// The fields of requests that several of them have.

const { SPACE } = require('./frames');

/** @typedef {import('./frame-writer').FrameWriter} FrameWriter */
/** @typedef {{ message: number, delivery: number }} Receipt */

/** @param {FrameWriter} to @param {string} queue */
const queueField = (to, queue) => to.u8(SPACE.queue).text(queue);

/** @param {FrameWriter} to @param {string} list */
const listField = (to, list) => to.u8(SPACE.list).text(list);

/** @param {FrameWriter} to @param {Receipt} receipt */
const receiptField = (to, { message, delivery }) => to.u64(message).u32(delivery);

/** @param {FrameWriter} to @param {readonly Receipt[]} receipts */
function receiptsField(to, receipts) {
  to.u32(receipts.length);
  for (const receipt of receipts) receiptField(to, receipt);
}

/**
 * The fields of a message but its envelope.
 *
 * @param {FrameWriter} to
 * @param {ReturnType<typeof import('./options').messageOptions>} options
 */
function messageFields(to, { priority, delay, expires, group, id, deduplicate }) {
  return to.u8(priority).u64(delay).u64(expires).text(group).text(id).u64(deduplicate);
}

/**
 * The fields of a message back to its queue, but the queue.
 *
 * @param {FrameWriter} to
 * @param {Receipt} receipt
 * @param {{ delay: number, error: string, counts?: boolean }} options
 */
function nackFields(to, receipt, { delay, error, counts = true }) {
  // What is cut is for people.
  receiptField(to, receipt)
    .u64(delay)
    .u8(counts ? 1 : 0)
    .text(error.slice(0, 1_000));
}

/** @param {Record<string, string> | undefined} headers @returns {string} as they are written */
const headersField = (headers) => (headers === undefined ? '' : JSON.stringify(headers));

module.exports = {
  headersField,
  listField,
  messageFields,
  nackFields,
  queueField,
  receiptField,
  receiptsField,
};
