'use strict';

// The order of 'message', 'disconnect' and 'exit' where the core passes several of them on in one call. That programs see it
// so is for parity and for failures.test.js.

const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const { EventEmitter, once } = require('node:events');
const { test } = require('node:test');

const { Ends, inOwnTick } = require('../../lib/channel/order');

const ID = 1;

/**
 * As the core passes events on: in a call of libuv's, and not in a promise job, as tests run.
 *
 * @param {() => void} pass
 */
function inOneCall(pass) {
  setImmediate(pass);
}

/** The channel of a worker whose end and exit come in the turn in which its last message comes. */
function scene() {
  /** @type {string[]} */
  const seen = [];
  let held = 0;
  const ends = new Ends(
    /** @type {any} */ ({
      hold() {
        held++;
      },
      release() {
        held--;
      },
    }),
  );
  const worker = new EventEmitter();
  for (const event of ['message', 'disconnect', 'exit']) {
    worker.on(event, () => seen.push(event));
    once(worker, event).then(async () => {
      await undefined;
      seen.push(`after ${event}`);
    });
  }
  return { ends, seen, worker, held: () => held, exited: once(worker, 'exit') };
}

const ALL = ['message', 'after message', 'disconnect', 'after disconnect', 'exit', 'after exit'];

/** @param {ReturnType<typeof scene>} scene */
async function assertOrder({ seen, exited, held }) {
  await exited;
  await new Promise(setImmediate);
  assert.deepEqual(seen, ALL);
  assert.equal(held(), 0);
}

test("a program that awaits an event has gone on before the next one, when the process's end is seen first", async () => {
  const one = scene();
  const { ends, worker } = one;
  ends.behindDisconnect(ID, true, () => worker.emit('exit'));
  assert.equal(one.held(), 1);
  inOneCall(() => {
    inOwnTick(() => worker.emit('message'));
    ends.closed(ID, () => inOwnTick(() => worker.emit('disconnect')));
  });
  await assertOrder(one);
});

test("and when the channel's end is seen first, in the same turn", async () => {
  const one = scene();
  const { ends, worker } = one;
  inOneCall(() => {
    inOwnTick(() => worker.emit('message'));
    ends.closed(ID, () => inOwnTick(() => worker.emit('disconnect')));
    ends.behindDisconnect(ID, false, () => worker.emit('exit'));
  });
  await assertOrder(one);
});

test('what waits for the messages alone comes in front of the tick of disconnect', async () => {
  const { ends, seen, worker, held } = scene();
  const disconnected = once(worker, 'disconnect');
  ends.behindMessages(ID, true, () => seen.push('behind messages'));
  inOneCall(() => {
    inOwnTick(() => worker.emit('message'));
    ends.closed(ID, () => inOwnTick(() => worker.emit('disconnect')));
  });
  await disconnected;
  assert.deepEqual(seen.slice(0, 4), ['message', 'after message', 'behind messages', 'disconnect']);
  assert.equal(held(), 0);
});

test('an end that throws does not cost the exit', () => {
  const program = `
    const { Ends } = require(${JSON.stringify(require.resolve('../../lib/channel/order'))});
    const ends = new Ends({ hold() {}, release() {} });
    process.on('uncaughtException', ({ message }) => console.log(message));
    ends.behindDisconnect(1, true, () => console.log('exit'));
    ends.closed(1, () => {
      throw new Error('thrown');
    });`;
  const { stdout } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' });
  assert.deepEqual(stdout.trim().split('\n').sort(), ['exit', 'thrown']);
});
