'use strict';

const { AsyncResource } = require('node:async_hooks');

/**
 * The async context of events, for async_hooks and AsyncLocalStorage: the context in which the channel, server or message was made.
 * Node has libuv's handles for that.
 */
class Origin extends AsyncResource {
  /** Keeps nothing alive. Jest asks this when it looks for open handles. */
  hasRef() {
    return false;
  }
}

module.exports = { Origin };
