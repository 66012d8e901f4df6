'use strict';

const errors = require('../errors');

/** What a message may be, as of Node's `send`. */
const TYPES = ['string', 'object', 'number', 'boolean'];

/**
 * Throws for what cannot be sent.
 *
 * @param {any} message
 */
function checkMessage(message) {
  if (message === undefined) throw errors.missingArgs('message');
  if (!TYPES.includes(typeof message)) {
    throw errors.invalidArgType('message', 'one of type string, object, number, or boolean', message);
  }
}

module.exports = { checkMessage };
