'use strict';

// The file of a Unix socket: a stale one is removed, and the mode says who may connect.

const fs = require('node:fs');
const net = require('node:net');

/**
 * Removes the file of a server that has died. Nothing else is ever removed: neither another kind of file nor
 * the socket of a server that lives.
 *
 * @param {string} path
 * @returns {Promise<boolean>} whether it is worth it to listen there now
 */
async function removeStale(path) {
  const before = look(path);
  if (before === undefined) return true;
  if (!before.isSocket() || !(await refuses(path))) return false;
  // Another server may have had the same idea and be there already. No event comes between this look and the removal.
  const now = look(path);
  if (now === undefined) return true;
  if (now.ino !== before.ino || now.dev !== before.dev || now.ctimeNs !== before.ctimeNs) return false;
  fs.unlinkSync(path);
  return true;
}

/** @param {string} path */
function look(path) {
  return fs.lstatSync(path, { bigint: true, throwIfNoEntry: false });
}

/**
 * @param {string} path
 * @returns {Promise<boolean>} whether nobody listens there, for certain
 */
function refuses(path) {
  return new Promise((resolve) => {
    const socket = net.connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', (/** @type {NodeJS.ErrnoException} */ { code }) => resolve(code === 'ECONNREFUSED'));
  });
}

/**
 * Sets who may connect: to the bits that the umask has left, those that the program wants are added. Whether other users may write
 * is the program's decision, under every umask.
 *
 * @param {string} path
 * @param {{ readableAll?: boolean, writableAll?: boolean }} config
 */
function setMode(path, { readableAll, writableAll }) {
  const mode = fs.statSync(path).mode & 0o777;
  const wanted = (mode & ~0o002) | (readableAll ? 0o444 : 0) | (writableAll ? 0o222 : 0);
  if (wanted !== mode) fs.chmodSync(path, wanted);
}

/**
 * Whether there is a file: neither in Linux's abstract namespace nor on Windows.
 *
 * @param {string} path
 */
function hasFile(path) {
  return process.platform !== 'win32' && !path.startsWith('\0');
}

module.exports = { hasFile, removeStale, setMode };
