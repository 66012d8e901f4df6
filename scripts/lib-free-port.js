'use strict';

const net = require('node:net');

/**
 * Below the ports that a kernel gives to those that ask for any, and to clients: what is free here stays so until it is used. Above those of
 * Node's own tests.
 */
const FIRST = 30_000;
const COUNT = 2_768;
/** Each process begins somewhere else. */
const OF_A_PROCESS = 8;

let offset = (process.pid * OF_A_PROCESS) % COUNT;

/** @returns {Promise<number>} a port of 127.0.0.1 that was free just now, and that this process has not been given before */
async function freePort() {
  for (let attempt = 0; attempt < COUNT; attempt++) {
    const port = FIRST + offset;
    offset = (offset + 1) % COUNT;
    if (await isFree(port)) return port;
  }
  throw new Error(`none of ${COUNT} ports from ${FIRST} on is free`);
}

/** @param {number} port @returns {Promise<boolean>} */
function isFree(port) {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once('error', (/** @type {NodeJS.ErrnoException} */ error) => {
      if (error.code === 'EADDRINUSE') resolve(false);
      else reject(error);
    });
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

module.exports = { freePort };
