'use strict';

// The addon of the bus, or why there is none.

const { usePlain } = require('./json');
const { loadAddon } = require('../addon');

/** @typedef {typeof import('./binding')} Binding */

const loaded = /** @type {{ native: Binding | undefined, reason: string }} */ (loadAddon('corral-bus'));
if (loaded.native !== undefined) usePlain(loaded.native.isPlain);

module.exports = loaded;
