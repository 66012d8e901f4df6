'use strict';

// Tells the service manager (systemd, or another that speaks `sd_notify(3)`) what this process does: that it is ready, reloads and
// stops, what it is doing in words, and, where a watchdog is asked for, that its workers serve.

/** How long after a message that could not be sent the next try is, in milliseconds. */
const RETRY_AFTER = 50;

/** How many messages may wait. Of more, the manager has lost interest. */
const MOST_WAITING = 64;

/**
 * @typedef {object} Effects
 * @property {(message: string) => void} send throws; with the code EAGAIN if the manager does not read at the moment
 * @property {(error: Error) => void} fail the manager cannot be told
 * @property {() => boolean} isServing whether workers serve
 */

class ServiceManager {
  #effects;
  /** @type {string[]} */
  #waiting = [];
  /** @type {NodeJS.Timeout | undefined} */
  #retry;
  /** @type {NodeJS.Timeout | undefined} */
  #watchdog;
  #isReady = false;
  #isOver = false;
  #reloads = 0;
  #status = '';
  /** Another process is the one that the manager believes. */
  #isHeld = false;

  /**
   * @param {Effects} effects
   * @param {number} watchdog within which it wants to hear, in milliseconds; Infinity for never
   */
  constructor(effects, watchdog) {
    this.#effects = effects;
    if (!Number.isFinite(watchdog)) return;
    // As `sd_watchdog_enabled(3)` recommends.
    this.#watchdog = setInterval(() => this.#beat(), Math.max(1, Math.floor(watchdog / 2))).unref();
  }

  /** All workers are ready for the first time. */
  ready() {
    this.#isReady = true;
    // Whoever was started as another process, a shell for example, is not the one to be signalled.
    this.#tell(`READY=1\nMAINPID=${process.pid}`);
  }

  /** A reload was asked for. */
  reloading() {
    this.#reloads++;
    if (!this.#isReady) return;
    this.#tell(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
  }

  /** It is over, whatever has come of it. */
  reloaded() {
    this.#reloads--;
    if (this.#isReady && this.#reloads === 0) this.#tell('READY=1');
  }

  /** Nothing is told before this promise has resolved. @param {Promise<unknown>} promise */
  holdUntil(promise) {
    this.#isHeld = true;
    promise.then(
      () => {
        this.#isHeld = false;
        this.#flush();
      },
      // Then there is nothing to be told.
      () => this.end(),
    );
  }

  /** @param {number} pid another process is the service from now on */
  succeededBy(pid) {
    // What it has not been told yet counts no more. This does, also if the manager does not read at the moment: it would take the end
    // of this process for that of the service.
    this.#waiting = [];
    this.#tell(`MAINPID=${pid}`);
    this.#isOver = true;
    clearInterval(this.#watchdog);
  }

  stopping() {
    this.#tell('STOPPING=1');
  }

  /** @param {string} text what this process is doing, for people */
  status(text) {
    if (text === this.#status) return;
    this.#status = text;
    // Of several the last one counts: they leave room for what has to be told.
    this.#waiting = this.#waiting.filter((message) => !message.startsWith('STATUS='));
    this.#tell(`STATUS=${text.replace(/\s+/g, ' ')}`);
  }

  /** Nothing is told from now on. */
  end() {
    this.#isOver = true;
    clearInterval(this.#watchdog);
    clearTimeout(this.#retry);
  }

  #beat() {
    if (this.#isReady && !this.#isHeld && this.#effects.isServing()) this.#tell('WATCHDOG=1');
  }

  /** @param {string} message */
  #tell(message) {
    if (this.#isOver || this.#waiting.length >= MOST_WAITING) return;
    this.#waiting.push(message);
    if (this.#retry === undefined && !this.#isHeld) this.#flush();
  }

  #flush() {
    while (this.#waiting.length > 0) {
      try {
        this.#effects.send(this.#waiting[0]);
        this.#waiting.shift();
      } catch (error) {
        if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EAGAIN') {
          this.#retry = setTimeout(() => {
            this.#retry = undefined;
            this.#flush();
          }, RETRY_AFTER);
          return;
        }
        this.end();
        this.#effects.fail(/** @type {Error} */ (error));
        return;
      }
    }
  }
}

module.exports = { MOST_WAITING, RETRY_AFTER, ServiceManager };
