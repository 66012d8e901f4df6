'use strict';

// ipc.config as it is before the program says otherwise. The values are those of node-ipc 9.2.1.

const os = require('node:os');

/** A form feed: JSON never has one. */
const DELIMITER = '\f';

const MAX_MESSAGE_SIZE = 64 * 1024 * 1024;

/** @returns {import('../../node-ipc').Config} */
function defaults() {
  return {
    appspace: 'app.',
    socketRoot: '/tmp/',
    id: os.hostname(),

    encoding: 'utf8',
    rawBuffer: false,
    sync: false,
    unlink: true,
    delimiter: DELIMITER,
    maxMessageSize: MAX_MESSAGE_SIZE,

    silent: false,
    logDepth: 5,
    logInColor: true,
    logger: (text) => console.log(text),

    maxConnections: 100,
    retry: 500,
    maxRetries: Number.POSITIVE_INFINITY,
    stopRetrying: false,

    tls: false,
    networkHost: '127.0.0.1',
    networkPort: 8000,

    readableAll: false,
    writableAll: false,

    interface: { localAddress: false, localPort: false, family: false, hints: false, lookup: false },
  };
}

module.exports = { DELIMITER, MAX_MESSAGE_SIZE, defaults };
