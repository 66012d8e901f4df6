'use strict';

// `corral/node-ipc` in place of the npm package `node-ipc`, version 9.

const { IPC } = require('./lib/node-ipc/ipc');

class Module extends IPC {
  IPC = IPC;
}

module.exports = new Module();
