'use strict';

// The addon that observes, or why there is none.

const { loadAddon } = require('../addon');

/** @typedef {typeof import('./binding')} Binding */

module.exports = /** @type {{ native: Binding | undefined, reason: string }} */ (loadAddon('corral-observe'));
