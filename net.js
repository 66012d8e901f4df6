'use strict';

// `corral/net` in place of `net`: everything that `net` has, and with `{ ipc: true }` servers and connections that carry
// messages and handles between any two processes.

const net = require('node:net');

const { Channel } = require('./lib/ipc/channel');
const { ipcReactor } = require('./lib/ipc/reactor');
const { pathOf, termsOf } = require('./lib/ipc/options');
const { policyOf } = require('./lib/ipc/reconnect');
const { ChannelServer } = require('./lib/ipc/server');

// By their descriptors: some of Node's are getters that load what they give.
Object.defineProperties(exports, Object.getOwnPropertyDescriptors(net));

/** @param {any} options whether a program wants channels */
function wantsChannels(options) {
  return options !== null && typeof options === 'object' && options.ipc === true;
}

/**
 * @param {any} [options]
 * @param {any} [connectionListener]
 * @returns {any} a net.Server; a ChannelServer with `{ ipc: true }`
 */
function createServer(options, connectionListener) {
  if (!wantsChannels(options)) return net.createServer(options, connectionListener);
  return new ChannelServer(ipcReactor('net.createServer({ ipc: true })'), options, connectionListener);
}

/**
 * @param {any[]} args
 * @returns {any} a net.Socket; a Channel with `{ ipc: true }`
 */
function connect(...args) {
  const [options] = args;
  if (!wantsChannels(options)) return Reflect.apply(net.connect, undefined, args);
  const path = pathOf(options);
  const setting = { path, terms: termsOf(options), policy: policyOf(options.reconnect) };
  const channel = new Channel({ reactor: ipcReactor('net.connect({ ipc: true })'), ...setting });
  if (typeof args[1] === 'function') channel.once('connect', args[1]);
  channel.connect();
  return channel;
}

Object.assign(exports, { Channel, ChannelServer, connect, createConnection: connect, createServer });
