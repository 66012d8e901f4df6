'use strict';

// Messages between two corrals: a primary and its workers, and workers among themselves.

const assert = require('node:assert/strict');
const { describe, test } = require('node:test');

const { advanced } = require('../lib/serialization');
const { programs } = require('./helpers/programs');

describe('messages between corrals', { concurrency: 2 }, () => programs('messages/between-corrals'));
describe('large messages in memory that both ends have', { concurrency: 2 }, () =>
  programs('messages/memory'),
);
describe('workers that talk to each other', { concurrency: 2 }, () => programs('messages/peers'));
describe('requests', { concurrency: 2 }, () => programs('messages/requests'));

test('a view whose bytes begin where its type does not like it is one of its own', () => {
  const doubles = Float64Array.from({ length: 10_000 }, (_, index) => index / 3);
  const apart = advanced.takeApart({ doubles });
  assert.equal(apart?.pieces.length, 1);
  const frame = apart?.frame.subarray(4);
  for (const shift of [0, 1, 4]) {
    const bytes = Buffer.concat([Buffer.alloc(shift), frame, apart?.pieces[0]]);
    const start = shift + frame.length;
    const message = advanced.putTogether(bytes, [shift, start, start, bytes.length]);
    assert.deepEqual(message, { doubles });
  }
});
