'use strict';

// How many connections of each server this worker has open, which its primary asks under `SCHED_LEAST`.

/** Where a connection is counted, on its handle. */
const COUNTED = Symbol('corral.counted');

/** @type {import('../../binding').NativeLane | undefined} */
let lane;

/**
 * Counts a connection until it is closed.
 *
 * @param {import('../../binding').NativeLane} by
 * @param {any} handle
 * @param {number} slot where its server is counted
 */
function follow(by, handle, slot) {
  lane = by;
  watchClosing(handle.constructor);
  handle[COUNTED] = slot;
  by.countOpen(slot, true);
}

/** @param {any} handle is about to be closed */
function onClosing(handle) {
  const slot = handle[COUNTED];
  if (slot === undefined) return;
  handle[COUNTED] = undefined;
  lane?.countOpen(slot, false);
}

/** The types of handles that tell when they are closed. */
const watched = new Set();

/**
 * Has the handles of a type tell before they are closed or reset, each as often as that is asked of it. A connection may have
 * a function of its own in the place of these, which ends in these.
 *
 * @param {any} Type of a stream
 */
function watchClosing(Type) {
  if (watched.has(Type)) return;
  watched.add(Type);
  for (const name of ['close', 'reset']) {
    const own = Type.prototype[name];
    if (own === undefined) continue;
    /** @this {any} @param {unknown[]} args */
    Type.prototype[name] = function (...args) {
      onClosing(this);
      return Reflect.apply(own, this, args);
    };
  }
}

module.exports = { follow };
