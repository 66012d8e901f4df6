'use strict';

const { AsyncResource } = require('node:async_hooks');

/**
 * What events are a consequence of, for async_hooks and AsyncLocalStorage: whoever made the channel, server or message that they are
 * about. Node has the handles of libuv for that, whose events these would be.
 */
class Origin extends AsyncResource {
  /** Keeps nothing alive: who looks for what is still open (Jest) asks. */
  hasRef() {
    return false;
  }
}

module.exports = { Origin };
