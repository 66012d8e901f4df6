'use strict';

// Messages between two corrals: a primary and its workers, and workers among themselves.

const assert = require('node:assert/strict');
const { describe, test } = require('node:test');

const { advanced } = require('../../lib/serialization');
const { programs } = require('../helpers/programs');

describe('messages between corrals', { concurrency: 2 }, () => programs('messages/between-corrals'));
describe('large messages in memory that both ends have', { concurrency: 2 }, () =>
  programs('messages/memory'),
);
describe('how much may be unread', { concurrency: 2 }, () => programs('messages/backlog'));
describe('workers that talk to each other', { concurrency: 2 }, () => programs('messages/peers'));
describe('requests', { concurrency: 2 }, () => programs('messages/requests'));
describe('channels that have names', { concurrency: 2 }, () => programs('messages/named-channels'));
describe('channels that have names, without lanes', { concurrency: 2 }, () =>
  programs('messages/named-with-primary', { CORRAL_LANE: '0' }),
);
describe("channels that have names, on Node's own cluster", { concurrency: 2 }, () =>
  programs('messages/named-with-primary', { CORRAL_NATIVE: '0' }),
);

test('a view whose bytes begin where its type does not like it is one of its own', () => {
  const doubles = Float64Array.from({ length: 10_000 }, (_, index) => index / 3);
  const apart = advanced.takeApart({ doubles });
  assert.equal(apart?.attachments.length, 1);
  const frame = apart?.frame.subarray(4);
  for (const shift of [0, 1, 4]) {
    const bytes = Buffer.concat([Buffer.alloc(shift), frame, apart?.attachments[0]]);
    const start = shift + frame.length;
    const message = advanced.putTogether(bytes, [shift, start, start, bytes.length]);
    assert.deepEqual(message, { doubles });
  }
});

/** @param {any} message */
function inParts(message) {
  const parts = advanced.writeInParts?.(message);
  assert.ok(parts);
  return parts;
}

test('a message in parts is the message, and its large views are lent', () => {
  const large = (/** @type {number} */ byte) => Buffer.alloc(100_000, byte);
  const doubles = Float64Array.from({ length: 10_000 }, (_, index) => index / 3);
  const twice = large(7);
  const { buffer } = doubles;
  for (const [message, count] of /** @type {[any, number][]} */ ([
    [large(1), 1],
    [{ one: large(1), two: large(2), text: 'x'.repeat(70_000), ключ: 'значение' }, 2],
    [
      [large(3), new Uint8Array(large(4)), doubles, new DataView(buffer, 8), new BigInt64Array(buffer, 16)],
      5,
    ],
    [{ twice, again: twice, small: Buffer.from('small'), map: new Map([[twice, new Set([large(5)])]]) }, 2],
    [{ odd: Buffer.alloc(100_003, 'ab').subarray(3), behind: 'ж' }, 1],
    [large(1).subarray(0, 65_535), 0],
    [{ text: 'x'.repeat(1 << 20), number: 1n }, 0],
    ['text', 0],
  ])) {
    const parts = inParts(message);
    assert.equal(parts.length, 2 * count + 1);
    assert.deepEqual(Buffer.concat(parts), advanced.write(message));
    // Every second part is the memory of a view.
    assert.ok(parts.every(({ byteLength }, index) => index % 2 === 0 || byteLength >= 65_536));
  }
  const message = large(1);
  const [, lent] = inParts(message);
  assert.deepEqual([lent.buffer, lent.byteOffset], [message.buffer, message.byteOffset]);
});

test('a message whose getter gives the memory of a large view away is refused as if it had been away before', () => {
  const view = new Uint8Array(100_000);
  const message = {
    view,
    get away() {
      if (view.byteLength > 0) structuredClone(view.buffer, { transfer: [view.buffer] });
      return 'given';
    },
  };
  const refused = { name: 'TypeError', message: /detached/ };
  assert.throws(() => inParts(message), refused);
  assert.throws(() => advanced.write(message), refused);
});
