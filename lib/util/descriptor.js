'use strict';

/** The largest number that a descriptor may have. */
const MAX_DESCRIPTOR = 2 ** 31 - 1;

/**
 * Whether a value can be the number of a descriptor. What has none may be undefined, null or -1: nothing of that may become the 0 that is
 * this process's standard input.
 *
 * @param {unknown} fd
 * @returns {fd is number}
 */
function isDescriptor(fd) {
  return Number.isInteger(fd) && Number(fd) >= 0 && Number(fd) <= MAX_DESCRIPTOR;
}

module.exports = { MAX_DESCRIPTOR, isDescriptor };
