'use strict';

// Both ends of the message bench: a sender that keeps a bounded number of messages on the way, and a receiver
// that counts them. The primary and its worker run the same code.

/** @typedef {{ send: (message: any) => unknown }} Peer */

/** In a worker's environment: whether it loads the cluster module of its side, 'corral', or only uses process.send, 'plain'. */
const WORKER_VARIABLE = 'CORRAL_BENCH_WORKER';

/** @typedef {'16 B' | '1 KiB' | '64 KiB' | '1 MiB'} Size */

/**
 * The bytes of a message's body, and how many messages are on the way at most; the receiver says every half of that that
 * they have come.
 * @type {Record<Size, { bytes: number, window: number }>}
 */
const SIZES = {
  '16 B': { bytes: 16, window: 2000 },
  '1 KiB': { bytes: 1024, window: 2000 },
  '64 KiB': { bytes: 64 * 1024, window: 64 },
  '1 MiB': { bytes: 1024 * 1024, window: 4 },
};

/** Up to this size a body is text in both serializations. */
const TEXT = 1024;

/**
 * What a test sends over and over.
 * @param {Size} size
 * @param {string} serialization
 */
function makeMessage(size, serialization) {
  const { bytes } = SIZES[size];
  // A Buffer has no good form in JSON, and in `advanced` it is what people send.
  const isText = serialization === 'json' || bytes <= TEXT;
  return { type: 'item', body: isText ? 'x'.repeat(bytes) : Buffer.alloc(bytes, 'x') };
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
   * @param {{ size: Size, serialization: string }} test
   */
  constructor(peer, { size, serialization }) {
    this.#peer = peer;
    this.#message = makeMessage(size, serialization);
    this.#window = SIZES[size].window;
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

exports.Receiver = Receiver;
exports.SIZES = SIZES;
exports.Sender = Sender;
exports.WORKER_VARIABLE = WORKER_VARIABLE;
