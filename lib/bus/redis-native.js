'use strict';

// The addon of the engine in Redis, or why there is none.

const { loadAddon } = require('../addon');

/** @typedef {typeof import('./redis-binding')} Binding */

module.exports = /** @type {{ native: Binding | undefined, reason: string }} */ (loadAddon('corral-redis'));
