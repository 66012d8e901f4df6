'use strict';

// Workers that are replaced although nothing is wrong with them, one at a time: a reload replaces all, recycling replaces one. A reload that is
// asked for during another one waits for its end; more of them become one. Reloads come before recycling.

const { State } = require('./lifecycle');

/** How long a worker is left alone whose replacement has failed. In milliseconds. */
const RETRY_AFTER = 15_000;

/** @typedef {import('./fleet').Slot} Slot */
/** @typedef {import('./fleet').Member} Member */
/** @typedef {import('./fleet').Loss} Loss */

/** @typedef {{ generation: number, replaced: number, milliseconds: number }} Result */
/** @typedef {{ resolve: (result: Result) => void, reject: (loss: Loss) => void }} Waiting */

/**
 * @typedef {object} Owner
 * @property {() => Slot[]} slots
 * @property {() => Set<Member>} members
 * @property {() => number} beginGeneration
 * @property {(slot: Slot, isUrgent: boolean, done: (loss?: Loss) => void) => void} replace
 */

/**
 * @typedef {object} Reload
 * @property {Waiting[]} waiting
 * @property {number} generation
 * @property {number} start
 * @property {Set<Slot>} done
 */

class Rolling {
  #effects;
  #owner;
  #isOn = false;
  /** Whether a worker is being replaced in its turn. */
  #isBusy = false;
  /** @type {Reload | undefined} */
  #reload;
  /** Asked for, and not begun. @type {Waiting[]} */
  #asked = [];
  /** Those to be recycled when it is their turn. @type {Map<Slot, { member: Member, reason: string }>} */
  #recycling = new Map();
  /** Until when a slot is left alone. @type {WeakMap<Slot, number>} */
  #restUntil = new WeakMap();
  /** Reloads whose old workers have not all gone. @type {Set<Reload>} */
  #leaving = new Set();

  /**
   * @param {import('./fleet').Effects} effects
   * @param {Owner} owner
   */
  constructor(effects, owner) {
    this.#effects = effects;
    this.#owner = owner;
  }

  /** @returns {{ generation: number, done: number, total: number } | null} the reload that runs */
  get progress() {
    if (this.#reload === undefined) return null;
    const { generation, done } = this.#reload;
    return { generation, done: done.size, total: this.#owner.slots().length };
  }

  /** All workers have been ready once. */
  begin() {
    this.#isOn = true;
    this.#pump();
  }

  /** No worker is replaced from now on. */
  stop() {
    this.#isOn = false;
    this.#recycling.clear();
    const loss = { reason: 'the supervisor is stopping', isWhole: true };
    this.#failReload(loss);
    for (const { reject } of this.#asked.splice(0)) reject(loss);
  }

  /** @param {Waiting} waiting */
  reload(waiting) {
    this.#asked.push(waiting);
    this.#pump();
  }

  /**
   * @param {Slot} slot whose worker nobody replaces
   * @param {Member} member
   * @param {string} reason
   * @param {boolean} isUrgent
   */
  recycle(slot, member, reason, isUrgent) {
    if (member.state !== State.READY || (this.#restUntil.get(slot) ?? 0) > this.#effects.now()) return;
    if (isUrgent && this.#isOn) {
      this.#recycling.delete(slot);
      this.#replaceOne(slot, member, reason, true, () => this.#pump());
      return;
    }
    if (!this.#recycling.has(slot)) this.#recycling.set(slot, { member, reason });
    this.#pump();
  }

  #pump() {
    if (!this.#isOn || this.#isBusy) return;
    if (this.#reload !== undefined) this.#step(this.#reload);
    else if (this.#asked.length > 0) this.#beginReload();
    else this.#recycleNext();
  }

  #recycleNext() {
    const [next] = this.#recycling;
    if (next === undefined) return;
    const [slot, { member, reason }] = next;
    this.#recycling.delete(slot);
    const isStill = slot.active === member && member.state === State.READY && slot.replacement === undefined;
    if (!isStill) return this.#pump();
    this.#isBusy = true;
    this.#replaceOne(slot, member, reason, false, () => this.#turnOver());
  }

  /**
   * @param {Slot} slot
   * @param {Member} member
   * @param {string} reason
   * @param {boolean} isUrgent
   * @param {() => void} done
   */
  #replaceOne(slot, member, reason, isUrgent, done) {
    this.#effects.tell('recycle', { member, reason });
    this.#owner.replace(slot, isUrgent, (loss) => {
      if (loss !== undefined) this.#restUntil.set(slot, this.#effects.now() + RETRY_AFTER);
      done();
    });
  }

  #turnOver() {
    this.#isBusy = false;
    this.#pump();
  }

  #beginReload() {
    const waiting = this.#asked.splice(0);
    const generation = this.#owner.beginGeneration();
    this.#reload = { waiting, generation, start: this.#effects.now(), done: new Set() };
    try {
      this.#effects.prepare(generation);
    } catch (error) {
      this.#failReload({ reason: /** @type {Error} */ (error).message, isWhole: true });
      return;
    }
    this.#pump();
  }

  /** @param {Reload} reload */
  #step(reload) {
    const { generation, done } = reload;
    const isOld = (/** @type {Slot} */ slot) =>
      !done.has(slot) && (slot.active === undefined || slot.active.generation < generation);
    const left = this.#owner.slots().filter(isOld);
    // One that is being replaced out of turn is left for the end; `gone` looks again.
    const slot = left.find(({ replacement }) => replacement === undefined);
    if (slot === undefined) {
      if (left.length === 0) this.#allReplaced(reload);
      return;
    }
    this.#isBusy = true;
    this.#owner.replace(slot, false, (loss) => {
      this.#isBusy = false;
      if (this.#reload !== reload) return;
      if (loss !== undefined && this.#owner.slots().includes(slot)) return this.#failReload(loss);
      if (loss === undefined) {
        done.add(slot);
        this.#effects.tell('progress', this.progress);
      }
      this.#pump();
    });
  }

  /** @param {Reload} reload */
  #allReplaced(reload) {
    this.#reload = undefined;
    this.#leaving.add(reload);
    this.gone();
  }

  /** @param {Loss} loss */
  #failReload(loss) {
    const reload = this.#reload;
    if (reload === undefined) return;
    this.#reload = undefined;
    this.#effects.revert();
    for (const { reject } of reload.waiting) reject(loss);
    this.#pump();
  }

  /** A worker, or a place, has gone. */
  gone() {
    for (const reload of this.#leaving) {
      const { waiting, generation, start, done } = reload;
      if ([...this.#owner.members()].some((member) => member.generation < generation)) continue;
      this.#leaving.delete(reload);
      const result = { generation, replaced: done.size, milliseconds: this.#effects.now() - start };
      for (const { resolve } of waiting) resolve(result);
    }
    this.#pump();
  }
}

module.exports = { RETRY_AFTER, Rolling };
