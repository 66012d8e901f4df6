'use strict';

// In a worker with a supervisor: who stops a whole group of processes (a terminal, systemd) sends the signal to workers as well, which would
// die of it with the requests that they have begun. The supervisor has got it too, and asks them to leave. So a worker takes no notice
// of it as long as it has its channel. A program that listens for the signal does as it likes.

const { SUPERVISED_VARIABLE } = require('../protocol');

const SIGNALS = /** @type {const} */ (['SIGTERM', 'SIGINT', 'SIGHUP']);

/** @param {NodeJS.Signals} signal */
function onSignal(signal) {
  // The program's own listener.
  if (process.listenerCount(signal) > 1) return;
  if (process.connected) return;
  process.removeListener(signal, onSignal);
  process.kill(process.pid, signal);
}

/** Once per process. */
function heedSupervisor() {
  if (process.env[SUPERVISED_VARIABLE] === undefined) return;
  // Not for this worker's own children.
  delete process.env[SUPERVISED_VARIABLE];
  for (const signal of SIGNALS) process.on(signal, onSignal);
}

module.exports = { heedSupervisor };
