'use strict';

// Why a message in V8's format cannot be read here: as a rule another version of Node has written it, or another runtime. V8 itself
// says no more than that it cannot.

const v8 = require('node:v8');

/** What V8's format begins with; its version is next. */
const HEADER = 0xff;
/** Who writes a version that Node has not: docs/compatibility.md. @type {Record<number, string>} */
const WRITERS = { 16: 'Deno 2.9' };

/**
 * @param {Uint8Array} frame
 * @param {unknown} error that reading it has thrown
 * @returns {Error}
 */
function unreadable(frame, error) {
  const own = v8.serialize(null)[1];
  const version = frame[0] === HEADER ? frame[1] : own;
  const reader = `Node ${process.version}`;
  if (version > own) {
    const writer = WRITERS[version] === undefined ? '' : ` (${WRITERS[version]} writes it)`;
    return new Error(`version ${version} of V8's format${writer}, of which ${reader} knows ${own}`);
  }
  const { message } = /** @type {Error} */ (error);
  return new Error(`a value that ${reader} cannot read; the peer may be another version of it: ${message}`);
}

module.exports = { unreadable };
