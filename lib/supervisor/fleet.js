'use strict';

// All workers of a supervisor: which places there are, who has each, and who comes next. It starts workers anew that are lost, replaces
// them one at a time, and ends them all. No I/O: processes, timers, chance and the clock are given to it.

const { GOOD_LIFE, backoff } = require('./backoff');
const { Input, State, isServing } = require('./lifecycle');
const { Replacement } = require('./replacement');
const { Rolling } = require('./rolling');

/**
 * A worker, as the fleet sees it. Its state changes in no call but `input`, and with each change it calls `fleet.changed`.
 * @typedef {object} Member
 * @property {number} slot
 * @property {number} generation
 * @property {State} state
 * @property {number} readyAt when it was ready, by the fleet's clock; 0 before
 * @property {(input: Input) => void} input
 */

/**
 * How a worker was lost.
 * @typedef {object} Loss
 * @property {string} reason what it did, behind "worker 3"; or, with `isWhole`, all that there is to say
 * @property {boolean} [isWhole]
 * @property {boolean} [isVoluntary] it has left by itself, and well
 * @property {string[]} [lines] the last that it has written to stderr
 */

/**
 * A place, by its number.
 * @typedef {object} Slot
 * @property {number} number
 * @property {Member | undefined} active who serves in it, or is about to
 * @property {Member | undefined} successor who is to replace that one
 * @property {Replacement | undefined} replacement the replacing
 * @property {number} failures in a row
 * @property {boolean} wasReady
 * @property {(() => void) | undefined} cancelRespawn
 */

/**
 * @typedef {object} Effects
 * @property {(slot: number, generation: number, isReplacement: boolean) => Member} fork calls `changed` not before it has returned;
 *   `isReplacement`: it takes the place of one that serves
 * @property {(milliseconds: number, callback: () => void) => () => void} setTimer returns what cancels it
 * @property {() => number} now in milliseconds
 * @property {() => number} random from 0 to 1
 * @property {(generation: number) => void} prepare workers of a new generation are about to start; may throw
 * @property {() => void} revert they are not to be, after all
 * @property {(event: string, about: any) => void} tell
 */

/** @typedef {{ size: number, surge: number, minUptime: number }} Shape */

class Fleet {
  #effects;
  #surge;
  #minUptime;
  /** @type {Slot[]} */
  #slots = [];
  /** Every worker whose process has not ended. @type {Set<Member>} */
  #members = new Set();
  #generation = 0;
  #isStarted = false;
  #wasReady = false;
  /** Why all workers are to end, once they are. @type {{ error?: Loss, callbacks: (() => void)[] } | undefined} */
  #stopping;
  #isStopped = false;
  #rolling;
  /** @type {import('./replacement').Host} */
  #host;

  /**
   * @param {Shape} shape
   * @param {Effects} effects
   */
  constructor({ size, surge, minUptime }, effects) {
    this.#effects = effects;
    this.#surge = surge;
    this.#host = {
      fork: (slot) => this.#fork(slot),
      ask: (member, input) => member.input(input),
      respawn: (slot, loss) => this.#respawn(slot, loss),
      setTimer: effects.setTimer,
    };
    this.#minUptime = minUptime;
    this.#rolling = new Rolling(effects, {
      slots: () => this.#slots,
      members: () => this.#members,
      beginGeneration: () => ++this.#generation,
      replace: (slot, isUrgent, done) => this.#replace(slot, isUrgent, done),
    });
    this.#grow(size);
  }

  get slots() {
    return this.#slots;
  }

  get members() {
    return this.#members;
  }

  get generation() {
    return this.#generation;
  }

  get isStarted() {
    return this.#isStarted;
  }

  get isStopping() {
    return this.#stopping !== undefined;
  }

  get isStopped() {
    return this.#isStopped;
  }

  get rolling() {
    return this.#rolling;
  }

  /**
   * A member's state has changed.
   *
   * @param {Member} member
   * @param {State} was
   * @param {Loss} loss if it serves no more
   */
  changed(member, was, loss) {
    const slot = this.#slots.find(({ active, successor }) => active === member || successor === member);
    if (member.state === State.READY) this.#ready(member, slot);
    if (isServing(was) && !isServing(member.state) && slot !== undefined) this.#lost(member, slot, loss);
    if (member.state === State.GONE) this.#gone(member);
  }

  /**
   * @param {Member} member
   * @param {Slot | undefined} slot undefined if it is not wanted any more
   */
  #ready(member, slot) {
    if (slot === undefined) return;
    this.#wasReady = true;
    slot.wasReady = true;
    if (slot.successor === member) slot.replacement?.ready();
    this.#checkStarted();
  }

  #checkStarted() {
    if (this.#isStarted || this.#stopping || !this.#slots.every(({ wasReady }) => wasReady)) return;
    this.#isStarted = true;
    this.#effects.tell('started', {});
    this.#rolling.begin();
  }

  /**
   * @param {Member} member serves no more, and was not asked to leave
   * @param {Slot} slot
   * @param {Loss} loss
   */
  #lost(member, slot, loss) {
    if (!loss.isVoluntary) this.#effects.tell('lost', { member, loss });
    if (slot.successor === member) {
      slot.replacement?.lost(loss);
      return;
    }
    slot.active = undefined;
    if (!this.#wasReady) {
      this.stop(Input.STOP, () => {}, loss);
      return;
    }
    // A worker that has served for a while owes nothing for earlier ones.
    const age = member.readyAt === 0 ? 0 : this.#effects.now() - member.readyAt;
    if (age >= GOOD_LIFE) slot.failures = 0;
    const isQuick = loss.isVoluntary && age >= this.#minUptime;
    if (slot.replacement === undefined) this.#respawn(slot, loss, isQuick);
  }

  /**
   * @param {Slot} slot that has nobody
   * @param {Loss} loss why
   * @param {boolean} [isQuick] at once
   */
  #respawn(slot, loss, isQuick = false) {
    if (!isQuick) slot.failures++;
    const delay = isQuick ? 0 : backoff(slot.failures, this.#effects.random);
    this.#effects.tell('respawn', { slot: slot.number, failures: slot.failures, delay, loss });
    slot.cancelRespawn = this.#effects.setTimer(delay, () => {
      slot.cancelRespawn = undefined;
      slot.active = this.#fork(slot);
    });
  }

  /** @param {Member} member */
  #gone(member) {
    this.#members.delete(member);
    for (const { replacement } of this.#slots) replacement?.gone(member);
    this.#rolling.gone();
    if (this.#stopping !== undefined && this.#members.size === 0) this.#stopped();
  }

  /** @param {Slot} slot */
  #fork(slot) {
    const member = this.#effects.fork(slot.number, this.#generation, slot.replacement !== undefined);
    this.#members.add(member);
    return member;
  }

  /**
   * @param {Slot} slot
   * @param {boolean} isUrgent the new one takes over as soon as it is ready
   * @param {(loss?: Loss) => void} done
   */
  #replace(slot, isUrgent, done) {
    slot.cancelRespawn?.();
    slot.cancelRespawn = undefined;
    new Replacement(this.#host, slot, this.#surge === 0, isUrgent ? 0 : this.#minUptime, done);
  }

  /** @param {number} size from 1 */
  scale(size) {
    if (this.#stopping !== undefined) return;
    while (this.#slots.length > size) this.#shrink();
    this.#grow(size);
    this.#checkStarted();
    this.#rolling.gone();
  }

  /** @param {number} size */
  #grow(size) {
    while (this.#slots.length < size) {
      /** @type {Slot} */
      const slot = {
        number: this.#slots.length,
        active: undefined,
        successor: undefined,
        replacement: undefined,
        failures: 0,
        wasReady: false,
        cancelRespawn: undefined,
      };
      this.#slots.push(slot);
      slot.active = this.#fork(slot);
    }
  }

  #shrink() {
    const slot = /** @type {Slot} */ (this.#slots.pop());
    this.#giveUp(slot, Input.DRAIN);
  }

  /**
   * @param {Slot} slot
   * @param {Input} input what its worker is told
   */
  #giveUp(slot, input) {
    slot.cancelRespawn?.();
    slot.cancelRespawn = undefined;
    slot.replacement?.cancel();
    const { active } = slot;
    slot.active = undefined;
    active?.input(input);
  }

  /**
   * Replaces a worker.
   *
   * @param {Member} member
   * @param {string} reason
   * @param {boolean} isUrgent without waiting for its turn
   */
  recycle(member, reason, isUrgent) {
    const slot = this.#slots.find(({ active }) => active === member);
    if (slot === undefined || slot.replacement !== undefined || this.#stopping !== undefined) return;
    this.#rolling.recycle(slot, member, reason, isUrgent);
  }

  /** @param {import('./rolling').Waiting} waiting */
  reload(waiting) {
    if (this.#stopping !== undefined) waiting.reject({ reason: 'the supervisor is stopping', isWhole: true });
    else this.#rolling.reload(waiting);
  }

  /**
   * Ends all workers. Called again it may be stricter.
   *
   * @param {Input} input
   * @param {() => void} callback called when the last one has gone
   * @param {Loss} [error] for which there is nothing to be supervised
   */
  stop(input, callback, error = undefined) {
    if (this.#stopping === undefined) {
      this.#stopping = { error, callbacks: [] };
      this.#rolling.stop();
      for (const slot of this.#slots) this.#giveUp(slot, input);
    }
    this.#stopping.callbacks.push(callback);
    for (const member of [...this.#members]) member.input(input);
    if (this.#members.size === 0) this.#stopped();
  }

  /** The last one has gone. */
  #stopped() {
    const { error, callbacks } = /** @type {{ error?: Loss, callbacks: (() => void)[] }} */ (this.#stopping);
    if (!this.#isStopped) {
      this.#isStopped = true;
      this.#effects.tell('stopped', { error });
    }
    for (const callback of callbacks.splice(0)) callback();
  }
}

module.exports = { Fleet };
