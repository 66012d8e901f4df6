'use strict';

// `corral/rsmq`: rsmq's API, on its own keys in Redis, or in a file without a server.

module.exports = require('./lib/rsmq/rsmq');
