'use strict';

// Where servers are: the arguments of serveNet and connectToNet, and paths.

/** @typedef {import('../../node-ipc').Config} Config */

/**
 * @typedef {object} NetArguments
 * @property {string} host
 * @property {number} port
 * @property {'udp4' | 'udp6' | undefined} udp
 * @property {(...args: any[]) => void} callback
 */

/**
 * Any of `host, port, UDPType, callback` may be left out, so each is recognized by its type.
 *
 * @param {Config} config
 * @param {readonly unknown[]} args
 * @returns {NetArguments}
 */
function netArguments(config, args) {
  /** @type {Partial<NetArguments>} */
  const found = {};
  for (const arg of args) {
    if (typeof arg === 'function') found.callback ??= /** @type {NetArguments['callback']} */ (arg);
    else if (typeof arg === 'number') found.port ??= arg;
    else if (typeof arg === 'string' && arg !== '') takeText(found, arg);
  }
  const { udp, port = Number(config.networkPort), callback = () => {} } = found;
  return { udp, port, callback, host: ofFamily(found.host ?? config.networkHost, udp) };
}

/**
 * @param {Partial<NetArguments>} found
 * @param {string} text
 */
function takeText(found, text) {
  const lower = text.toLowerCase();
  if (lower === 'udp4' || lower === 'udp6') found.udp ??= lower;
  else if (/^\d+$/.test(text)) found.port ??= Number(text);
  else found.host ??= text;
}

/**
 * The default host is of one family only.
 *
 * @param {string} host
 * @param {NetArguments['udp']} udp
 */
function ofFamily(host, udp) {
  if (udp === 'udp4' && host === '::1') return '127.0.0.1';
  if (udp === 'udp6' && host === '127.0.0.1') return '::1';
  return host;
}

/**
 * @param {Config} config
 * @param {string} id
 */
function defaultPath({ socketRoot, appspace }, id) {
  return `${socketRoot}${appspace}${id}`;
}

const PIPES = '\\\\.\\pipe\\';

/**
 * The path as `net` takes it: on Windows node-ipc makes the name of a pipe of it.
 *
 * @param {string} path
 * @param {NodeJS.Platform} [platform]
 */
function systemPath(path, platform = process.platform) {
  if (platform !== 'win32' || path.startsWith(PIPES)) return path;
  return PIPES + path.replace(/^\//, '').replaceAll('/', '-');
}

module.exports = { defaultPath, netArguments, systemPath };
