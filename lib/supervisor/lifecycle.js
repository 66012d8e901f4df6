'use strict';

// The life of one worker as a supervisor sees it: which states there are, and what each event causes. No I/O: `transition` is the
// whole of it, and member.js does what it says.

/**
 * @enum {string}
 */
const State = Object.freeze({
  /** Its process is starting, or its program is not ready yet. */
  STARTING: 'starting',
  /** It serves. */
  READY: 'ready',
  /** It gets nothing new, and finishes what it has begun. */
  DRAINING: 'draining',
  /** It was told to end at once. */
  STOPPING: 'stopping',
  /** Its process has ended. */
  GONE: 'gone',
});

/**
 * What happens to a worker, or is wanted of it.
 * @enum {string}
 */
const Input = Object.freeze({
  /** It says that it is ready, or is found to be. */
  READY: 'ready',
  /** The time is up that the last `TIME_` action has set. */
  TIMEOUT: 'timeout',
  /** Its channel has closed: no server of its is left. */
  DISCONNECTED: 'disconnected',
  /** Its event loop does not turn. */
  HUNG: 'hung',
  /** Its process has ended, or could not be spawned. */
  EXITED: 'exited',
  /** It is to leave when it has finished what it has begun. */
  DRAIN: 'drain',
  /** It is to end. */
  STOP: 'stop',
  /** It is to end at once. */
  KILL: 'kill',
});

/**
 * What is to be done. A worker has one timer: each `TIME_` action sets it anew.
 * @enum {string}
 */
const Action = Object.freeze({
  /** `worker.disconnect({ drain, idle })` */
  DISCONNECT: 'disconnect',
  /** SIGTERM */
  TERMINATE: 'terminate',
  /** The signal for workers that are hung. */
  INTERRUPT: 'interrupt',
  /** SIGKILL */
  KILL: 'kill',
  /** Until it must be ready. */
  TIME_START: 'time start',
  /** Until it must have drained. */
  TIME_DRAIN: 'time drain',
  /** Until a process whose channel has closed must have ended. */
  TIME_EXIT: 'time exit',
  /** Until SIGKILL follows SIGTERM. */
  TIME_KILL: 'time kill',
  /** Until SIGKILL follows the signal for workers that are hung. */
  TIME_HUNG: 'time hung',
  /** No timer. */
  TIME_NONE: 'time none',
});

/** @typedef {[state: State, ...actions: Action[]]} Step */

/** What any worker does that has not been told to end. @type {Record<Input, Step>} */
const ALIVE = {
  [Input.STOP]: [State.STOPPING, Action.TERMINATE, Action.TIME_KILL],
  [Input.KILL]: [State.STOPPING, Action.KILL, Action.TIME_NONE],
  [Input.HUNG]: [State.STOPPING, Action.INTERRUPT, Action.TIME_HUNG],
  [Input.DISCONNECTED]: [State.DRAINING, Action.TIME_EXIT],
  [Input.EXITED]: [State.GONE, Action.TIME_NONE],
};

/** @type {Record<State, Record<Input, Step>>} */
const STEPS = {
  [State.STARTING]: {
    ...ALIVE,
    [Input.READY]: [State.READY, Action.TIME_NONE],
    // It may listen, and have requests.
    [Input.TIMEOUT]: [State.DRAINING, Action.DISCONNECT, Action.TIME_DRAIN],
    [Input.DRAIN]: [State.DRAINING, Action.DISCONNECT, Action.TIME_DRAIN],
  },
  [State.READY]: {
    ...ALIVE,
    [Input.DRAIN]: [State.DRAINING, Action.DISCONNECT, Action.TIME_DRAIN],
  },
  [State.DRAINING]: {
    ...ALIVE,
    [Input.TIMEOUT]: [State.STOPPING, Action.TERMINATE, Action.TIME_KILL],
  },
  [State.STOPPING]: {
    [Input.TIMEOUT]: [State.STOPPING, Action.KILL, Action.TIME_NONE],
    [Input.KILL]: [State.STOPPING, Action.KILL, Action.TIME_NONE],
    [Input.EXITED]: [State.GONE, Action.TIME_NONE],
  },
  [State.GONE]: {},
};

/** What is done with a worker that has just been spawned. @type {Step} */
const FIRST = [State.STARTING, Action.TIME_START];

/**
 * @param {State} state
 * @param {Input} input
 * @returns {Step} the next state, which may be the same, and what is to be done, in this order
 */
function transition(state, input) {
  return STEPS[state][input] ?? [state];
}

/** @param {State} state @returns {boolean} whether a worker serves, or will */
function isServing(state) {
  return state === State.STARTING || state === State.READY;
}

module.exports = { Action, FIRST, Input, State, isServing, transition };
