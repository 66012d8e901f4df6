'use strict';

// How many handles that a peer has sent are open here. Whoever sends one cannot know whether the program closes it, and a program that
// expects none does not. A program that sends them on has them open until the next one takes them: then the peer has to wait.

const EventEmitter = require('node:events');

const { limits } = require('../limits');

/** One peer's may be one of so many descriptors that this process may have. The others are for everybody else. */
const SHARE = 2;

/** How many bytes one counts for that waits for somebody to listen, so that a peer cannot use up the descriptors of this process. */
const HANDLE_WEIGHT = 512 * 1024;

/** As many of a peer's wait to be sent on when no more are taken from it, until half of them have gone. */
const MAX_WAITING = 16;

/** By whom each handle is counted. @type {WeakMap<object, HeldHandles>} */
const holders = new WeakMap();

/** How often each handle waits to be sent on. @type {WeakMap<object, number>} */
const waiting = new WeakMap();

/** Those of each target that has had any. @type {WeakMap<object, HeldHandles>} */
const known = new WeakMap();

class HeldHandles {
  #count = 0;
  #waiting = 0;
  #isWithheld = false;
  /** Called with whether the peer's handles are to be acknowledged later. @type {(isWithheld: boolean) => void} */
  onWithheld = () => {};

  /** Throws if there are as many as the peer may have open here. */
  checkRoom() {
    if (this.#count >= limits().descriptorLimit() / SHARE) {
      throw new Error(`${this.#count} handles that came on this channel are open`);
    }
  }

  /** @param {any} handle that has arrived; it counts until it is closed */
  add(handle) {
    if (typeof handle?.close !== 'function' && !(handle instanceof EventEmitter)) return;
    this.#count++;
    holders.set(handle, this);
    if (handle instanceof EventEmitter) handle.once('close', () => release(handle));
    else releaseWhenClosed(handle);
  }

  remove() {
    this.#count--;
  }

  /** @param {number} change of how many wait */
  changeWaiting(change) {
    this.#waiting += change;
    const isWithheld = this.#isWithheld ? this.#waiting > MAX_WAITING / 2 : this.#waiting >= MAX_WAITING;
    if (isWithheld === this.#isWithheld) return;
    this.#isWithheld = isWithheld;
    this.onWithheld(isWithheld);
  }
}

/** Handles on their way to a peer that may be sent several before the first has arrived: they wait to be sent on, for those who have sent them. */
class UnderWay {
  /** By whom they are counted, in their order. @type {(HeldHandles | undefined)[]} */
  #holders = [];

  /** @param {HeldHandles | undefined} holder by whom the handle was counted that goes */
  add(holder) {
    this.#holders.push(holder);
    holder?.changeWaiting(1);
  }

  /** The oldest has arrived, or was given up. */
  removeOldest() {
    this.#holders.shift()?.changeWaiting(-1);
  }

  /** Nothing is heard of any of them any more. */
  clear() {
    for (const holder of this.#holders.splice(0)) holder?.changeWaiting(-1);
  }
}

/** @param {any} handle of Node's own, which tells nobody of its end */
function releaseWhenClosed(handle) {
  const { close } = handle;
  Object.defineProperty(handle, 'close', {
    configurable: true,
    writable: true,
    value: (/** @type {any[]} */ ...args) => {
      delete handle.close;
      release(handle);
      return Reflect.apply(close, handle, args);
    },
  });
}

/** @param {object} handle was closed, or is another process's from now on; nothing happens to one that is not counted */
function release(handle) {
  const holder = holders.get(handle);
  if (holder === undefined) return;
  holders.delete(handle);
  holder.remove();
  if (waiting.delete(handle)) holder.changeWaiting(-1);
}

/** @param {any} handle cannot be sent at once; nothing happens to one that is not counted */
function waits(handle) {
  const holder = handle ? holders.get(handle) : undefined;
  if (holder === undefined) return;
  const times = waiting.get(handle) ?? 0;
  waiting.set(handle, times + 1);
  if (times === 0) holder.changeWaiting(1);
}

/** @param {any} handle that has waited is sent now, or will not be */
function waitsNoMore(handle) {
  const times = handle ? waiting.get(handle) : undefined;
  if (times === undefined) return;
  if (times > 1) waiting.set(handle, times - 1);
  else {
    waiting.delete(handle);
    holders.get(handle)?.changeWaiting(-1);
  }
}

/**
 * @param {any} handle
 * @returns {HeldHandles | undefined} by whom it is counted
 */
function holderOf(handle) {
  return holders.get(handle);
}

/**
 * @param {object} target that the peer sends to. A primary is trusted: nothing is counted of a worker's
 * @returns {HeldHandles}
 */
function heldOf(target) {
  let held = known.get(target);
  if (held === undefined) {
    held = new HeldHandles();
    known.set(target, held);
  }
  return held;
}

module.exports = { HANDLE_WEIGHT, UnderWay, heldOf, holderOf, release, waits, waitsNoMore };
