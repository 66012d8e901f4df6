'use strict';

// What an operator may send to the primary's process.

const fs = require('node:fs');

/**
 * @param {Partial<Record<NodeJS.Signals, () => void>>} handlers
 * @returns {() => void} what takes them away
 */
function handleSignals(handlers) {
  const pairs = /** @type {[NodeJS.Signals, () => void][]} */ (Object.entries(handlers));
  for (const [signal, handler] of pairs) process.on(signal, handler);
  return () => {
    for (const [signal, handler] of pairs) process.removeListener(signal, handler);
  };
}

/** @returns {boolean} whether this process has a terminal: SIGHUP says that one has gone, where there was one */
function hasTerminal() {
  try {
    fs.closeSync(fs.openSync('/dev/tty', 'r'));
    return true;
  } catch {
    return false;
  }
}

module.exports = { handleSignals, hasTerminal };
