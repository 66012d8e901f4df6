'use strict';

/** The longest delay of a timer, in milliseconds (Node: `TIMEOUT_MAX`). */
const LONGEST_TIMEOUT = 2 ** 31 - 1;

module.exports = { LONGEST_TIMEOUT };
