'use strict';

// Names that Node has given up, for programs that still use them.

const util = require('node:util');

const internals = require('./node-internals');

/**
 * The name that `exitedAfterDisconnect` had before Node 6.
 *
 * @param {object} prototype of the Worker of either side
 */
function addSuicide(prototype) {
  Object.defineProperty(prototype, 'suicide', {
    /** @this {any} */
    get() {
      return this.exitedAfterDisconnect;
    },
    configurable: true,
    enumerable: false,
  });
}

const deprecatedAlias = '_channel is deprecated. Use ChildProcess.channel instead.';

/** @param {any} child has its `channel` by an older name as well, until Node 24 */
function addChannelAlias(child) {
  if (!internals.hasChannelAlias()) return;
  Object.defineProperty(child, '_channel', {
    get: util.deprecate(() => child.channel, deprecatedAlias, 'DEP0129'),
    set: util.deprecate(
      (/** @type {any} */ value) => {
        child.channel = value;
      },
      deprecatedAlias,
      'DEP0129',
    ),
    configurable: true,
    enumerable: false,
  });
}

module.exports = { addChannelAlias, addSuicide };
