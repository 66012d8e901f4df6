'use strict';

// What is kept of what workers have written.

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { KEPT, KEPT_CHARACTERS, Output } = require('../../cli/output');

test('long lines, of which as many were kept as of short ones, were more than corral logs could be sent', (t) => {
  t.mock.method(process.stderr, 'write', () => true);
  const output = new Output({ json: false, colours: false });
  const long = 'x'.repeat(60_000);
  for (let count = 0; count < 2 * KEPT; count++) output.say(`${long}${count}`);
  const kept = output.last(KEPT);
  assert.equal(kept.at(-1)?.line, `${long}${2 * KEPT - 1}`);
  const characters = kept.reduce((sum, { line }) => sum + line.length, 0);
  assert.ok(
    characters >= KEPT_CHARACTERS - 2 * long.length && characters <= 2 * KEPT_CHARACTERS,
    `${characters}`,
  );
  for (let count = 0; count < 5 * KEPT; count++) output.say(`${count}`);
  const lines = output.last(KEPT).map(({ line }) => line);
  assert.deepEqual(
    lines,
    Array.from({ length: KEPT }, (_, place) => `${4 * KEPT + place}`),
  );
});
