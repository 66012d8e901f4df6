'use strict';

// `corral/bus`: topics and work queues, in memory, in a file, or on a server.

module.exports = require('./lib/bus/connect');
