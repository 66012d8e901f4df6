'use strict';

// Takes the connections that handle-giver.js gives: as its child, or from the path that it is told.

/** @type {(message: any, socket: any) => void} */
const take = (_message, socket) => socket?.on('error', () => {}).end('taken\n');

if (process.argv[2] === 'corral') {
  const net = require('../../net');
  const { serve } = require('../lib/remote');
  serve({
    /** @param {string} path */
    connect: (path) =>
      new Promise((resolve) => {
        const channel = net.connect({ path, ipc: true }, () => resolve(undefined));
        channel.on('message', take);
      }),
  });
} else {
  process.on('message', take);
  process.on('disconnect', () => process.exit(0));
}
