'use strict';

// The states of a worker as a pure machine: in whatever order things happen to it.

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { Action, FIRST, Input, State, transition } = require('../../lib/supervisor/lifecycle');
const { randomFrom } = require('../helpers/random');

const ORDERS = 100_000;
const STEPS = 12;
const INPUTS = Object.values(Input);
const RANK = Object.values(State);

/** Does what the actions say, to nobody. */
class Machine {
  state;
  /** Whether its timer runs. */
  isTimed = false;
  /** @type {string[]} */
  actions = [];

  constructor() {
    const [state, ...actions] = FIRST;
    this.state = state;
    this.#do(actions);
  }

  /** @param {string} input */
  input(input) {
    const was = this.state;
    const [state, ...actions] = transition(was, input);
    this.state = state;
    this.#do(actions);
    return actions;
  }

  /** @param {string[]} actions */
  #do(actions) {
    this.actions.push(...actions);
    for (const action of actions) if (action.startsWith('time ')) this.isTimed = action !== Action.TIME_NONE;
  }
}

test(`a worker ends in ${ORDERS.toLocaleString('en')} random orders of events`, () => {
  const random = randomFrom(1);
  for (let order = 0; order < ORDERS; order++) {
    const machine = new Machine();
    const seen = [];
    for (let step = 0; step < STEPS; step++) {
      const input = INPUTS[Math.floor(random() * INPUTS.length)];
      // A timer that does not run does not fire.
      if (input === Input.TIMEOUT && !machine.isTimed) continue;
      const was = machine.state;
      seen.push(input);
      const actions = machine.input(input);
      const about = seen.join(', ');
      assert.ok(
        RANK.indexOf(machine.state) >= RANK.indexOf(was),
        `it went back to ${machine.state}: ${about}`,
      );
      assert.equal(machine.state === State.GONE, was === State.GONE || input === Input.EXITED, about);
      if (was === State.GONE)
        assert.deepEqual(actions, [], `something was done with one that has gone: ${about}`);
      if (machine.state === State.READY) assert.equal(machine.isTimed, false, about);
      if (actions.includes(Action.DISCONNECT)) assert.equal(machine.state, State.DRAINING, about);
    }
    // Left alone, it is ready, has gone, or SIGKILL comes.
    for (let left = 3; left > 0 && machine.isTimed; left--) machine.input(Input.TIMEOUT);
    const isOver = machine.state === State.READY || machine.state === State.GONE;
    assert.equal(machine.isTimed, false, seen.join(', '));
    assert.ok(isOver || machine.actions.includes(Action.KILL), seen.join(', '));
  }
});

test('every input is known in every state, and does what it is for', () => {
  const alive = [State.STARTING, State.READY, State.DRAINING];
  for (const state of alive) {
    assert.deepEqual(transition(state, Input.STOP), [State.STOPPING, Action.TERMINATE, Action.TIME_KILL]);
    assert.deepEqual(transition(state, Input.HUNG), [State.STOPPING, Action.INTERRUPT, Action.TIME_HUNG]);
    assert.deepEqual(transition(state, Input.DISCONNECTED), [State.DRAINING, Action.TIME_EXIT]);
  }
  for (const state of [...alive, State.STOPPING]) {
    assert.deepEqual(transition(state, Input.KILL), [State.STOPPING, Action.KILL, Action.TIME_NONE]);
    assert.deepEqual(transition(state, Input.EXITED), [State.GONE, Action.TIME_NONE]);
  }
  const drain = [State.DRAINING, Action.DISCONNECT, Action.TIME_DRAIN];
  assert.deepEqual(transition(State.STARTING, Input.DRAIN), drain);
  assert.deepEqual(transition(State.READY, Input.DRAIN), drain);
  assert.deepEqual(transition(State.STARTING, Input.TIMEOUT), drain, 'it may have requests');
  assert.deepEqual(transition(State.DRAINING, Input.DRAIN), [State.DRAINING], 'its deadline is not put off');
  assert.deepEqual(transition(State.STARTING, Input.READY), [State.READY, Action.TIME_NONE]);
  for (const input of [Input.READY, Input.DRAIN, Input.STOP, Input.HUNG, Input.DISCONNECTED]) {
    assert.deepEqual(transition(State.STOPPING, input), [State.STOPPING], input);
  }
});
