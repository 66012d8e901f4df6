'use strict';

// A supervisor's fleet with workers that are nothing but states, and a clock of its own.

const assert = require('node:assert/strict');
const { describe, test } = require('node:test');

const { GOOD_LIFE, LONGEST_DELAY } = require('../../lib/supervisor/backoff');
const { Fleet } = require('../../lib/supervisor/fleet');
const { Action, FIRST, Input, State, transition } = require('../../lib/supervisor/lifecycle');
const { randomFrom } = require('../helpers/random');

const MIN_UPTIME = 1_000;
/** Timers of workers, in the order of the clock; what they are is for member.js to say. */
const DURATIONS = {
  'time start': 60_000,
  'time drain': 31_000,
  'time exit': 1_000,
  'time kill': 30_000,
  'time hung': 1_000,
};

/** A fleet whose workers do what they are told when the test says so. */
class World {
  now = 1;
  /** @type {{ at: number, callback: () => void }[]} */
  timers = [];
  /** @type {any[]} */
  members = [];
  /** @type {[string, any][]} */
  told = [];
  prepared = 0;
  reverted = 0;
  /** @type {any} */
  fleet;
  /** Thrown by the next `prepare`. @type {Error | undefined} */
  broken;

  /** @param {{ size?: number, surge?: number, random?: () => number }} [options] */
  constructor({ size = 2, surge = 1, random = () => 0 } = {}) {
    this.fleet = new Fleet(
      { size, surge, minUptime: MIN_UPTIME },
      {
        fork: (slot, generation) => this.#fork(slot, generation),
        setTimer: (milliseconds, callback) => this.setTimer(milliseconds, callback),
        now: () => this.now,
        random,
        prepare: () => {
          if (this.broken) throw this.broken;
          this.prepared++;
        },
        revert: () => {
          this.reverted++;
        },
        tell: (event, about) => this.told.push([event, about]),
      },
    );
  }

  /**
   * @param {number} milliseconds
   * @param {() => void} callback
   */
  setTimer(milliseconds, callback) {
    const timer = { at: this.now + milliseconds, callback };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((other) => other !== timer);
    };
  }

  /**
   * @param {number} slot
   * @param {number} generation
   */
  #fork(slot, generation) {
    let cancel = () => {};
    const member = {
      slot,
      generation,
      state: FIRST[0],
      readyAt: 0,
      /** @type {string[]} */
      done: [],
      loss: { reason: 'has left' },
      input: (/** @type {string} */ input) => {
        const was = member.state;
        const [state, ...actions] = transition(was, input);
        member.state = state;
        if (state === State.READY && was !== state) member.readyAt = this.now;
        for (const action of actions) act(action);
        if (state !== was) this.fleet.changed(member, was, member.loss);
      },
    };
    const act = (/** @type {string} */ action) => {
      member.done.push(action);
      if (!action.startsWith('time ')) return;
      cancel();
      cancel = () => {};
      if (action === Action.TIME_NONE) return;
      cancel = this.setTimer(DURATIONS[/** @type {keyof DURATIONS} */ (action)], () =>
        member.input(Input.TIMEOUT),
      );
    };
    act(FIRST[1]);
    this.members.push(member);
    return member;
  }

  /** @param {number} milliseconds */
  pass(milliseconds) {
    const end = this.now + milliseconds;
    for (;;) {
      const next = this.timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.timers = this.timers.filter((timer) => timer !== next);
      this.now = Math.max(this.now, next.at);
      next.callback();
    }
    this.now = end;
  }

  /** @param {string} state */
  in(state) {
    return this.members.filter((member) => member.state === state);
  }

  /** All that are starting are ready. */
  ready() {
    for (const member of this.in(State.STARTING)) member.input(Input.READY);
    return this;
  }

  /** All that are to leave have gone. */
  leave() {
    for (const member of [...this.in(State.DRAINING), ...this.in(State.STOPPING)]) member.input(Input.EXITED);
    return this;
  }

  /** @returns {{ result?: any, loss?: any }} */
  reload() {
    /** @type {any} */
    const outcome = {};
    this.fleet.reload({
      resolve: (/** @type {any} */ result) => Object.assign(outcome, { result }),
      reject: (/** @type {any} */ loss) => Object.assign(outcome, { loss }),
    });
    return outcome;
  }

  /** @param {string} event */
  of(event) {
    return this.told.filter(([name]) => name === event).map(([, about]) => about);
  }

  /** @returns {string} slot:generation of those that serve */
  get serving() {
    return this.in(State.READY)
      .map(({ slot, generation }) => `${slot}:${generation}`)
      .sort()
      .join(' ');
  }
}

describe('the first start', () => {
  test('is over when all workers have been ready', () => {
    const world = new World();
    world.members[0].input(Input.READY);
    assert.deepEqual(world.of('started'), []);
    world.members[1].input(Input.READY);
    assert.equal(world.of('started').length, 1);
    assert.equal(world.fleet.isStarted, true);
  });

  test('has failed if a worker ends and none was ready', () => {
    const world = new World();
    world.members[0].loss = { reason: 'has exited with code 1' };
    world.members[0].input(Input.EXITED);
    assert.deepEqual(world.members[1].done.slice(-2), [Action.TERMINATE, Action.TIME_KILL]);
    assert.deepEqual(world.of('stopped'), []);
    world.leave();
    assert.deepEqual(world.of('stopped'), [{ error: { reason: 'has exited with code 1' } }]);
    assert.equal(world.timers.length, 0);
  });

  test('goes on if another one serves', () => {
    const world = new World();
    world.members[0].input(Input.READY);
    world.members[1].input(Input.EXITED);
    assert.equal(world.serving, '0:0');
    world.pass(100);
    world.ready();
    assert.equal(world.serving, '0:0 1:0');
    assert.equal(world.fleet.isStarted, true);
  });
});

describe('workers that are lost', () => {
  test('are started anew, later each time, until one has lived for long enough', () => {
    const world = new World({ size: 1 }).ready();
    for (let i = 0; i < 10; i++) {
      world.in(State.READY)[0].input(Input.EXITED);
      world.pass(LONGEST_DELAY);
      world.ready();
    }
    const delays = world.of('respawn').map(({ delay }) => delay);
    assert.deepEqual(delays, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000]);
    world.pass(GOOD_LIFE);
    world.in(State.READY)[0].input(Input.EXITED);
    assert.equal(world.of('respawn').at(-1).delay, 100);
  });

  test('are started anew at once if they have left well', () => {
    const world = new World({ size: 1 }).ready();
    world.pass(MIN_UPTIME);
    world.members[0].loss = { reason: 'has left', isVoluntary: true };
    world.members[0].input(Input.EXITED);
    world.pass(0);
    assert.equal(world.members.length, 2);
    assert.deepEqual(world.of('lost'), []);
  });

  test('are started anew when they leave, and not when they have gone', () => {
    const world = new World({ size: 1 }).ready();
    world.members[0].input(Input.HUNG);
    world.pass(100);
    assert.deepEqual(
      world.members.map(({ state }) => state),
      [State.STOPPING, State.STARTING],
    );
  });
});

describe('a reload', () => {
  test('starts the new one first, one at a time, and ends when the old ones have gone', () => {
    const world = new World().ready();
    const outcome = world.reload();
    assert.equal(world.members.length, 3);
    world.ready();
    world.pass(MIN_UPTIME - 1);
    assert.equal(world.serving, '0:0 0:1 1:0');
    world.pass(1);
    assert.equal(world.serving, '0:1 1:0');
    assert.equal(world.members.length, 4);
    world.ready();
    world.pass(MIN_UPTIME);
    assert.equal(world.serving, '0:1 1:1');
    assert.deepEqual(outcome, {});
    world.leave();
    assert.deepEqual(outcome, { result: { generation: 1, replaced: 2, milliseconds: 2 * MIN_UPTIME } });
    assert.deepEqual(
      world.of('progress').map(({ done }) => done),
      [1, 2],
    );
  });

  test('without surge has the old one go first', () => {
    const world = new World({ surge: 0 }).ready();
    const outcome = world.reload();
    assert.equal(world.members.length, 2);
    assert.equal(world.serving, '1:0');
    for (let i = 0; i < 2; i++) {
      world.leave().ready();
      world.pass(MIN_UPTIME);
    }
    assert.equal(world.serving, '0:1 1:1');
    assert.equal(outcome.result.replaced, 2);
    assert.equal(Math.max(...world.members.map(({ slot }) => slot)), 1);
  });

  for (const [how, fail] of /** @type {[string, (world: World, member: any) => void][]} */ ([
    ['ends', (_world, member) => member.input(Input.EXITED)],
    ['is not ready in time', (world) => world.pass(60_000)],
    [
      'ends soon after it was ready',
      (world, member) => {
        member.input(Input.READY);
        world.pass(MIN_UPTIME - 1);
        member.input(Input.EXITED);
      },
    ],
    ['is hung', (_world, member) => member.input(Input.HUNG)],
  ])) {
    test(`ends if the new one ${how}, and the old ones go on`, () => {
      const world = new World().ready();
      const outcome = world.reload();
      const [member] = world.in(State.STARTING);
      member.loss = { reason: how };
      fail(world, member);
      assert.deepEqual(outcome, { loss: { reason: how } });
      assert.equal(world.serving, '0:0 1:0');
      assert.equal(world.reverted, 1);
      world.leave();
      world.pass(LONGEST_DELAY);
      assert.equal(world.members.length, 3, 'nobody else was started');
      const again = world.reload();
      for (let i = 0; i < 2; i++) {
        world.ready();
        world.pass(MIN_UPTIME);
      }
      world.leave();
      assert.equal(again.result.generation, 2);
    });
  }

  test('that cannot be prepared changes nothing', () => {
    const world = new World().ready();
    world.broken = new Error('no such file');
    assert.deepEqual(world.reload(), { loss: { reason: 'no such file', isWhole: true } });
    assert.equal(world.members.length, 2);
  });

  test('during another waits, and several become one', () => {
    const world = new World({ size: 1 }).ready();
    const outcomes = [world.reload(), world.reload(), world.reload()];
    world.ready();
    world.pass(MIN_UPTIME);
    world.leave();
    assert.deepEqual(
      outcomes.map(({ result }) => result?.generation),
      [1, undefined, undefined],
    );
    world.ready();
    world.pass(MIN_UPTIME);
    world.leave();
    assert.deepEqual(
      outcomes.map(({ result }) => result.generation),
      [1, 2, 2],
    );
    assert.equal(world.members.length, 3);
  });

  test('during the first start waits for it', () => {
    const world = new World({ size: 1 });
    const outcome = world.reload();
    assert.equal(world.members.length, 1);
    world.ready();
    assert.equal(world.members.length, 2);
    world.ready();
    world.pass(MIN_UPTIME);
    world.leave();
    assert.equal(outcome.result.replaced, 1);
  });

  test('goes on if the old one ends meanwhile, and starts nobody twice', () => {
    const world = new World({ size: 1 }).ready();
    const outcome = world.reload();
    world.members[0].input(Input.EXITED);
    world.pass(LONGEST_DELAY);
    assert.equal(world.members.length, 2);
    world.ready();
    world.pass(MIN_UPTIME);
    assert.equal(outcome.result.replaced, 1);
    assert.equal(world.serving, '0:1');
  });

  test('leaves no empty place if both end', () => {
    const world = new World({ size: 1 }).ready();
    const outcome = world.reload();
    world.members[0].input(Input.EXITED);
    world.members[1].input(Input.EXITED);
    assert.ok(outcome.loss);
    world.pass(100);
    world.ready();
    assert.equal(world.in(State.READY).length, 1);
  });

  test('does not wait for a crash loop', () => {
    const world = new World().ready();
    world.members[0].input(Input.EXITED);
    const outcome = world.reload();
    for (let i = 0; i < 2; i++) {
      world.ready();
      world.pass(MIN_UPTIME);
    }
    world.leave();
    assert.equal(outcome.result.replaced, 2);
    assert.equal(world.serving, '0:1 1:1');
    world.pass(LONGEST_DELAY);
    assert.equal(world.members.length, 4);
  });

  test('is given up by a stop', () => {
    const world = new World().ready();
    const outcomes = [world.reload(), world.reload()];
    let isStopped = false;
    world.fleet.stop(Input.DRAIN, () => {
      isStopped = true;
    });
    for (const { loss } of outcomes) assert.match(loss.reason, /stopping/);
    world.leave();
    assert.equal(isStopped, true);
    assert.equal(world.timers.length, 0);
    assert.match(world.reload().loss.reason, /stopping/);
  });
});

describe('the number of workers', () => {
  test('grows and shrinks', () => {
    const world = new World().ready();
    world.fleet.scale(4);
    world.ready();
    assert.equal(world.serving, '0:0 1:0 2:0 3:0');
    world.fleet.scale(1);
    assert.equal(world.serving, '0:0');
    world.leave();
    world.pass(LONGEST_DELAY);
    assert.equal(world.members.length, 4);
  });

  test('may shrink below what a reload is at', () => {
    const world = new World().ready();
    const outcome = world.reload();
    world.ready();
    world.pass(MIN_UPTIME);
    world.fleet.scale(1);
    world.leave();
    assert.equal(outcome.result.replaced, 1);
    assert.equal(world.serving, '0:1');
  });
});

describe('recycling', () => {
  test('replaces one at a time, behind a reload', () => {
    const world = new World().ready();
    const [first, second] = world.members;
    world.fleet.recycle(first, 'it is old', false);
    world.fleet.recycle(second, 'it is old', false);
    const outcome = world.reload();
    assert.equal(world.in(State.STARTING).length, 1);
    world.ready();
    world.pass(MIN_UPTIME);
    for (let i = 0; i < 2; i++) {
      world.ready();
      world.pass(MIN_UPTIME);
    }
    world.leave();
    assert.equal(outcome.result.generation, 1);
    assert.equal(world.serving, '0:1 1:1');
    assert.deepEqual(
      world.of('recycle').map(({ member }) => member),
      [first],
    );
  });

  test('that is urgent waits for nobody', () => {
    const world = new World().ready();
    world.fleet.recycle(world.members[0], 'it is old', false);
    world.fleet.recycle(world.members[1], 'it is large', true);
    assert.equal(world.in(State.STARTING).length, 2);
    world.fleet.recycle(world.members[1], 'it is large', true);
    assert.equal(world.in(State.STARTING).length, 2);
  });

  test('leaves a worker alone for a while whose replacement has failed', () => {
    const world = new World({ size: 1 }).ready();
    world.fleet.recycle(world.members[0], 'it is old', false);
    world.members[1].input(Input.EXITED);
    world.fleet.recycle(world.members[0], 'it is old', false);
    assert.equal(world.members.length, 2);
    assert.equal(world.serving, '0:0');
    world.pass(15_000);
    world.fleet.recycle(world.members[0], 'it is old', false);
    assert.equal(world.members.length, 3);
  });
});

test('a second stop is as strict as it says', () => {
  const world = new World().ready();
  let calls = 0;
  const count = () => {
    calls++;
  };
  world.fleet.stop(Input.DRAIN, count);
  assert.equal(world.in(State.DRAINING).length, 2);
  world.fleet.stop(Input.KILL, count);
  assert.deepEqual(
    world.members.map(({ done }) => done.includes(Action.KILL)),
    [true, true],
  );
  world.leave();
  world.fleet.stop(Input.KILL, count);
  assert.equal(calls, 3);
  assert.equal(world.of('stopped').length, 1);
});

const ORDERS = 100_000;

/** What happens at random, by its name. @type {Record<string, (world: World, random: () => number) => void>} */
const HAPPENINGS = {
  ready: (world, random) => pick(world.in(State.STARTING), random)?.input(Input.READY),
  exit: (world, random) => pick(alive(world), random)?.input(Input.EXITED),
  leave: (world, random) =>
    pick([...world.in(State.DRAINING), ...world.in(State.STOPPING)], random)?.input(Input.EXITED),
  disconnect: (world, random) => pick(alive(world), random)?.input(Input.DISCONNECTED),
  hang: (world, random) => pick(alive(world), random)?.input(Input.HUNG),
  wait: (world, random) => world.pass(random() * 2 * MIN_UPTIME),
  waitLong: (world, random) => world.pass(random() * 60_000),
  recycle: (world, random) => {
    const member = pick(world.in(State.READY), random);
    if (member !== undefined) world.fleet.recycle(member, 'by chance', random() < 0.3);
  },
  scale: (world, random) => world.fleet.scale(1 + Math.floor(random() * 4)),
};

/** @param {World} world */
const alive = (world) => world.members.filter(({ state }) => state !== State.GONE);

/**
 * @template T
 * @param {T[]} list
 * @param {() => number} random
 * @returns {T | undefined}
 */
const pick = (list, random) => list[Math.floor(random() * list.length)];

/** @param {World} world */
function assertSound(world) {
  const { slots, members, isStopping } = world.fleet;
  assert.deepEqual(new Set(alive(world)), new Set(members), 'those that live are those that it knows');
  const placed = slots
    .flatMap(({ active, successor }) => [active, successor])
    .filter((one) => one !== undefined);
  assert.equal(new Set(placed).size, placed.length, 'nobody has two places');
  for (const member of placed)
    assert.ok([State.STARTING, State.READY].includes(member.state), 'places are for who serves');
  for (const slot of slots) {
    const { active, successor, replacement, cancelRespawn } = slot;
    if (isStopping)
      assert.deepEqual([active, successor, replacement, cancelRespawn], Array(4).fill(undefined));
    else {
      const ways = [active, cancelRespawn, replacement].filter((one) => one !== undefined).length;
      assert.ok(ways >= 1, 'a place has a worker, or is about to have one');
      assert.ok(
        active === undefined || cancelRespawn === undefined,
        'nobody is started anew beside a worker',
      );
      assert.ok(
        replacement === undefined || cancelRespawn === undefined,
        'nobody is started anew beside a replacement',
      );
    }
  }
}

for (const surge of [1, 0]) {
  test(`${(ORDERS / 2).toLocaleString('en')} random orders with surge ${surge}: every place is filled, every reload ends, and all workers go`, () => {
    const random = randomFrom(surge + 1);
    const names = Object.keys(HAPPENINGS);
    for (let order = 0; order < ORDERS / 2; order++) {
      const world = new World({ size: 1 + Math.floor(random() * 3), surge, random });
      const outcomes = [];
      const seen = [];
      try {
        for (let step = 0; step < 14; step++) {
          const chance = random();
          if (chance < 0.1) outcomes.push(world.reload());
          const name = /** @type {string} */ (pick(names, random));
          seen.push(name);
          HAPPENINGS[name](world, random);
          assertSound(world);
        }
        const failed = world.fleet.isStopping;
        if (!failed && random() < 0.7) {
          // Left alone with programs that work, all are there in the end.
          for (let turn = 0; turn < 40; turn++) {
            world.ready().leave();
            world.pass(MIN_UPTIME);
          }
          world.pass(LONGEST_DELAY);
          world.ready().leave();
          for (let turn = 0; turn < 10; turn++) {
            world.pass(MIN_UPTIME);
            world.ready().leave();
          }
          assertSound(world);
          assert.deepEqual(world.in(State.READY).length, world.fleet.slots.length, 'all places are filled');
          assert.equal(alive(world).length, world.fleet.slots.length, 'nobody is left over');
          for (const outcome of outcomes) assert.ok(outcome.result || outcome.loss, 'every reload ends');
        }
        world.fleet.stop(Input.DRAIN, () => {});
        assertSound(world);
        world.pass(120_000);
        world.leave();
        assert.equal(world.of('stopped').length, 1);
        assert.deepEqual(alive(world), []);
        assert.deepEqual(world.timers, [], 'no timer is left');
        for (const outcome of outcomes) assert.ok(outcome.result || outcome.loss, 'every reload ends');
      } catch (error) {
        error.message = `${error.message} (order ${order}: ${seen.join(', ')})`;
        throw error;
      }
    }
  });
}
