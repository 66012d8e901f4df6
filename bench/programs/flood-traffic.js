'use strict';

// Messages without end, and what else has its turn in the process that gets them. The same code on both sides.

const { latencySummary } = require('../lib/stats');

/** @typedef {import('../lib/transports').Peer} Peer */

/** How often a timer is due in the flooded process, in milliseconds. */
const INTERVAL_MS = 10;
/** How often it gets a signal. */
const SIGNAL_EVERY_MS = 50;
const SIGNAL = 'SIGUSR2';

const MESSAGE = { x: 'y'.repeat(100) };
/** So many are sent in one go. */
const BURST = 200;

/**
 * Sends for as long as the process is there, and rests for a millisecond when `send` says that much waits.
 *
 * @param {Peer} peer
 */
function flood(peer) {
  for (let count = 0; count < BURST; count++) {
    if (peer.send(MESSAGE) === false) {
      setTimeout(flood, 1, peer);
      return;
    }
  }
  setImmediate(flood, peer);
}

/** What is seen in a process that is flooded. */
class Watch {
  #count = 0;

  /** A message has come. */
  item() {
    this.#count++;
  }

  /**
   * @param {number} seconds
   * @returns {Promise<Record<string, number>>} messages/s, how late a timer and a signal are in ms, CPU in us per message, memory in MiB
   */
  async run(seconds) {
    /** @type {number[]} */
    const late = [];
    /** @type {number[]} */
    const signals = [];
    let sentAt = 0;
    const onSignal = () => {
      signals.push(performance.now() - sentAt);
      setTimeout(signal, SIGNAL_EVERY_MS);
    };
    const signal = () => {
      sentAt = performance.now();
      process.kill(process.pid, SIGNAL);
    };
    process.on(SIGNAL, onSignal);
    signal();
    const before = process.cpuUsage();
    const counted = this.#count;
    const start = performance.now();
    let due = start + INTERVAL_MS;
    await new Promise((/** @type {(_: void) => void} */ resolve) => {
      const onTimer = () => {
        const now = performance.now();
        late.push(now - due);
        if (now - start > seconds * 1000) {
          resolve();
          return;
        }
        due = now + INTERVAL_MS;
        setTimeout(onTimer, INTERVAL_MS);
      };
      setTimeout(onTimer, INTERVAL_MS);
    });
    process.removeListener(SIGNAL, onSignal);
    process.on(SIGNAL, () => {});
    const elapsed = (performance.now() - start) / 1000;
    const messages = this.#count - counted;
    const { user, system } = process.cpuUsage(before);
    const lateness = latencySummary(late);
    return {
      rate: messages / elapsed,
      lateP50: lateness.p50,
      lateP99: lateness.p99,
      lateMax: lateness.max,
      signalMax: Math.max(...signals, signals.length === 0 ? performance.now() - sentAt : 0),
      cpu: (user + system) / messages,
      memory: process.resourceUsage().maxRSS / 1024,
    };
  }
}

module.exports = { Watch, flood };
