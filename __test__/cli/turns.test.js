'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { Turns } = require('../../cli/turns');

test('one thing is done at a time, and all who wait have one turn', async () => {
  /** @type {{ isOver: () => void, resolve: (value: number) => void, reject: (error: Error) => void }[]} */
  const begun = [];
  const turns = new Turns(
    (isOver) =>
      /** @type {Promise<number>} */ (
        new Promise((resolve, reject) => {
          begun.push({ isOver, resolve, reject });
        })
      ),
  );
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  const first = turns.take();
  await settled();
  const others = [turns.take(), turns.take()];
  await settled();
  assert.equal(begun.length, 1);
  begun[0].reject(new Error('no'));
  await assert.rejects(first, /no/);
  await settled();
  assert.equal(begun.length, 2);
  // It goes on, and nothing depends on it any more.
  begun[1].isOver();
  const last = turns.take();
  await settled();
  assert.equal(begun.length, 3);
  begun[2].resolve(3);
  assert.equal(await last, 3);
  begun[1].resolve(2);
  assert.deepEqual(await Promise.all(others), [2, 2]);
});
