'use strict';

// Looks at workers once a second: whether one is to be recycled, or is hung.

const inspector = require('node:inspector');

const { Input, State } = require('./lifecycle');
const { processInfo } = require('./process-info');
const { WAKE } = require('../protocol');

/** In milliseconds. */
const INTERVAL = 1_000;

/** How often, if memory has a limit: it may grow quickly. In milliseconds. */
const MEMORY_INTERVAL = 250;

/** Each worker's own limits are lower by up to so much of them, so that workers that started together do not end together. */
const JITTER = 0.1;

/** How often a worker is looked at within the time after which it counts as hung, at least. */
const LOOKS = 4;

/**
 * How often a worker must have been woken in vain: this process itself may have been blocked for as long as a worker may be.
 */
const WAKES = 2;

/** A time of the clock is told once, also when the clock is put back. In milliseconds. */
const SAME_TIME = 3 * 3_600_000;

/** What is known of a worker. @typedef {{ share: number, turns: number, since: number, wakes: number }} Seen */

class Watch {
  #cluster;
  #settings;
  #recycle;
  /** @type {NodeJS.Timeout} */
  #timer;
  /** @type {WeakMap<import('./member').Member, Seen>} */
  #seen = new WeakMap();
  #isDebugged;
  /** The times of the clock at which workers were to be replaced lately, each with when that was. @type {Map<string, number>} */
  #told = new Map();

  /**
   * @param {any} cluster
   * @param {import('./options').Settings} settings
   * @param {() => Iterable<import('./member').Member>} members
   * @param {(member: import('./member').Member, reason: string, isUrgent: boolean) => void} recycle
   */
  constructor(cluster, settings, members, recycle) {
    this.#cluster = cluster;
    this.#settings = settings;
    this.#recycle = recycle;
    this.#isDebugged = mayBeDebugged(cluster.settings.execArgv ?? []);
    // Those that are started within such a minute are new.
    this.#timeOfClock();
    const { memory, hardMemory } = settings.recycle;
    const often = Number.isFinite(Math.min(memory, hardMemory)) ? MEMORY_INTERVAL : INTERVAL;
    const interval = Math.min(often, Math.ceil(settings.hungAfter / LOOKS));
    this.#timer = setInterval(() => this.#look([...members()]), interval).unref();
  }

  stop() {
    clearInterval(this.#timer);
  }

  /** @param {import('./member').Member} member @returns {boolean} whether its event loop was woken in vain lately */
  isSilent(member) {
    const seen = this.#seen.get(member);
    return seen !== undefined && seen.wakes >= WAKES && performance.now() - seen.since >= INTERVAL;
  }

  /** @param {import('./member').Member[]} members */
  #look(members) {
    this.#lookAtClock(members);
    const stats = this.#cluster.native ? this.#cluster.stats().workers : [];
    for (const member of members) {
      // A program may take its time to start, within `readyTimeout`.
      if (member.state !== State.READY) continue;
      const counted = stats.find((/** @type {any} */ { id }) => id === member.worker.id);
      const info = processInfo(member.worker.process.pid);
      const seen = this.#seenOf(member);
      if (this.#isHung(member, seen, counted?.turns ?? null, info?.isHeld ?? false)) {
        member.input(Input.HUNG);
        continue;
      }
      const why = this.#whyToRecycle(member, seen, info?.rss ?? 0, counted?.dispatched ?? 0);
      if (why !== undefined) this.#recycle(member, why.reason, why.isUrgent);
    }
  }

  /** @param {import('./member').Member[]} members */
  #lookAtClock(members) {
    const time = this.#timeOfClock();
    if (time === undefined) return;
    for (const member of members) {
      if (member.state === State.READY) this.#recycle(member, `it is ${time}`, false);
    }
  }

  /** @returns {string | undefined} the hour and the minute, if workers are to be replaced and have not been told so */
  #timeOfClock() {
    const now = new Date();
    if (!this.#settings.recycle.at?.has(now)) return undefined;
    const time = `${now.getMonth()}-${now.getDate()} ${now.toTimeString().slice(0, 5)}`;
    for (const [other, since] of this.#told) if (now.getTime() - since > SAME_TIME) this.#told.delete(other);
    if (this.#told.has(time)) return undefined;
    this.#told.set(time, now.getTime());
    return time.slice(-5);
  }

  /** @param {import('./member').Member} member @returns {Seen} */
  #seenOf(member) {
    const known = this.#seen.get(member);
    if (known !== undefined) return known;
    const seen = { share: 1 - Math.random() * JITTER, turns: -1, since: performance.now(), wakes: 0 };
    this.#seen.set(member, seen);
    return seen;
  }

  /**
   * @param {import('./member').Member} member
   * @param {Seen} seen
   * @param {number} rss
   * @param {number} connections
   * @returns {{ reason: string, isUrgent: boolean } | undefined}
   */
  #whyToRecycle(member, { share }, rss, connections) {
    const { age, connections: most, memory, hardMemory } = this.#settings.recycle;
    const isUrgent = rss >= hardMemory;
    const mebibytes = Math.round(rss / 2 ** 20);
    if (isUrgent || rss >= memory) return { reason: `it has ${mebibytes} MiB of memory`, isUrgent };
    const lived = Date.now() - member.readyAt;
    if (lived >= age * share) return { reason: `it has served for ${lived} ms`, isUrgent };
    if (connections >= most * share) return { reason: `it has had ${connections} connections`, isUrgent };
    return undefined;
  }

  /**
   * A loop that waits for events does not turn either: a message wakes it.
   *
   * @param {import('./member').Member} member
   * @param {Seen} seen
   * @param {number | null} turns null where the worker does not show them
   * @param {boolean} isHeld
   */
  #isHung({ worker, isInspected }, seen, turns, isHeld) {
    const now = performance.now();
    if (
      isInspected ||
      turns === null ||
      turns !== seen.turns ||
      isHeld ||
      this.#isDebugged ||
      inspector.url() !== undefined
    ) {
      seen.turns = turns ?? -1;
      seen.since = now;
      seen.wakes = 0;
      return false;
    }
    if (now - seen.since >= this.#settings.hungAfter && seen.wakes >= WAKES) return true;
    seen.wakes++;
    if (worker.isConnected()) worker.process.send({ cmd: WAKE }, () => {});
    return false;
  }
}

/** @param {string[]} execArgv @returns {boolean} whether workers are started for a debugger */
function mayBeDebugged(execArgv) {
  const words = [...execArgv, ...(process.env.NODE_OPTIONS ?? '').split(' ')];
  // A port alone starts nothing.
  return words.some((word) => /^--(inspect|debug)(?!-port)/.test(word));
}

module.exports = { Watch };
