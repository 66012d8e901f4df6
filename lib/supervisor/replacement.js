'use strict';

// One worker takes the place of another: the new one starts, is ready, and lives for a while before the old one is asked to leave. With
// `inPlace` the old one leaves first.

const { Input } = require('./lifecycle');

/** @typedef {import('./fleet').Slot} Slot */
/** @typedef {import('./fleet').Member} Member */

/**
 * What it needs of the fleet.
 * @typedef {object} Host
 * @property {(slot: Slot) => Member} fork
 * @property {(member: Member, input: Input) => void} ask a member that is no slot's any more
 * @property {(slot: Slot, loss: import('./fleet').Loss) => void} respawn
 * @property {(milliseconds: number, callback: () => void) => () => void} setTimer
 */

class Replacement {
  #host;
  #slot;
  #minUptime;
  #done;
  /** The one that leaves first, until it has gone. @type {Member | undefined} */
  #leaving;
  #cancelTimer = () => {};

  /**
   * @param {Host} host
   * @param {Slot} slot that has no replacement
   * @param {boolean} inPlace
   * @param {number} minUptime how long the new one is watched, in milliseconds
   * @param {(loss?: import('./fleet').Loss) => void} done called once; with why it has failed, if it has
   */
  constructor(host, slot, inPlace, minUptime, done) {
    this.#host = host;
    this.#slot = slot;
    this.#minUptime = minUptime;
    this.#done = done;
    slot.replacement = this;
    const old = slot.active;
    if (!inPlace || old === undefined) {
      slot.successor = host.fork(slot);
      return;
    }
    this.#leaving = old;
    slot.active = undefined;
    host.ask(old, Input.DRAIN);
  }

  /** @param {Member} member its process has ended */
  gone(member) {
    if (member !== this.#leaving) return;
    this.#leaving = undefined;
    this.#slot.successor = this.#host.fork(this.#slot);
  }

  /** The new one serves. */
  ready() {
    this.#cancelTimer = this.#host.setTimer(this.#minUptime, () => this.#succeed());
  }

  #succeed() {
    const { active: old, successor } = this.#slot;
    this.#end();
    this.#slot.active = successor;
    if (old !== undefined) this.#host.ask(old, Input.DRAIN);
    this.#done();
  }

  /** @param {import('./fleet').Loss} loss of the new one */
  lost(loss) {
    this.#end();
    if (this.#slot.active === undefined) this.#host.respawn(this.#slot, loss);
    this.#done(loss);
  }

  /** The slot is given up. */
  cancel() {
    const { successor } = this.#slot;
    this.#end();
    if (successor !== undefined) this.#host.ask(successor, Input.DRAIN);
    this.#done({ reason: 'was not wanted any more' });
  }

  #end() {
    this.#cancelTimer();
    this.#leaving = undefined;
    this.#slot.successor = undefined;
    this.#slot.replacement = undefined;
  }
}

module.exports = { Replacement };
