'use strict';

// Both ends of the message bench: a sender that keeps a bounded number of messages on the way, and a receiver
// that counts them. The primary and its worker run the same code.

/** @typedef {{ send: (message: any) => unknown }} Peer */

/** Small messages that are on the way at most; the receiver says every half of it that they have come. */
const SMALL_WINDOW = 2000;
const BIG_WINDOW = 4;
const BIG_BYTES = 1024 * 1024;

/**
 * What a test sends over and over.
 * @param {'small' | 'big'} size
 * @param {string} serialization
 */
function makeMessage(size, serialization) {
  if (size === 'small') return { type: 'item', id: 1, text: 'a small message' };
  // A Buffer has no good form in JSON, and in `advanced` it is what people send.
  const body = serialization === 'json' ? 'x'.repeat(BIG_BYTES) : Buffer.alloc(BIG_BYTES, 'x');
  return { type: 'item', id: 1, body };
}

/** Sends as fast as the other side takes it, for a given time. */
class Sender {
  #peer;
  #message;
  #window;
  #sent = 0;
  #received = 0;
  #end = 0;
  #start = 0;
  /** @type {NodeJS.CpuUsage | undefined} */
  #cpu;
  /** @type {(result: { rate: number, cpu: number }) => void} */
  #finish = () => {};

  /**
   * @param {Peer} peer
   * @param {{ size: 'small' | 'big', serialization: string }} test
   */
  constructor(peer, { size, serialization }) {
    this.#peer = peer;
    this.#message = makeMessage(size, serialization);
    this.#window = size === 'small' ? SMALL_WINDOW : BIG_WINDOW;
  }

  /**
   * @param {number} seconds
   * @returns {Promise<{ rate: number, cpu: number }>} messages per second, and this process's CPU in us per
   *   message
   */
  run(seconds) {
    this.#start = performance.now();
    this.#end = this.#start + seconds * 1000;
    this.#cpu = process.cpuUsage();
    this.#peer.send({ type: 'begin', every: this.#window / 2 });
    return new Promise((resolve) => {
      this.#finish = resolve;
      this.#fill();
    });
  }

  /** @param {number} received how many messages the other side has had */
  onProgress(received) {
    this.#received = received;
    this.#fill();
  }

  #fill() {
    const now = performance.now();
    if (now >= this.#end) {
      // The receiver reports every half window, and only whole ones are sent: this is where all have arrived.
      if (this.#received === this.#sent) this.#report(now);
      return;
    }
    while (this.#sent - this.#received <= this.#window / 2) {
      for (let i = this.#window / 2; i > 0; i--) this.#peer.send(this.#message);
      this.#sent += this.#window / 2;
    }
  }

  /** @param {number} now */
  #report(now) {
    const { user, system } = process.cpuUsage(this.#cpu);
    this.#finish({ rate: this.#sent / ((now - this.#start) / 1000), cpu: (user + system) / this.#sent });
  }
}

/** Counts what comes and says so every now and then. */
class Receiver {
  #peer;
  #count = 0;
  #every = 1;
  /** @type {NodeJS.CpuUsage | undefined} */
  #cpu;

  /** @param {Peer} peer */
  constructor(peer) {
    this.#peer = peer;
  }

  /** @param {number} every */
  begin(every) {
    this.#count = 0;
    this.#every = every;
    this.#cpu = process.cpuUsage();
  }

  item() {
    if (++this.#count % this.#every === 0) this.#peer.send({ type: 'progress', received: this.#count });
  }

  /** This process's CPU in microseconds per message since begin(). */
  cpuPerMessage() {
    const { user, system } = process.cpuUsage(this.#cpu);
    return (user + system) / this.#count;
  }
}

exports.BIG_BYTES = BIG_BYTES;
exports.Receiver = Receiver;
exports.Sender = Sender;
