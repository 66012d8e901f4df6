'use strict';

// What is counted is described once, in Rust, and the types say the same.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const binding = require('../binding');

const types = fs.readFileSync(path.join(__dirname, '../index.d.ts'), 'utf8');

/**
 * @param {string} name of an interface
 * @returns {Map<string, string>} the comments of its numbers, by their names
 */
function numbersOf(name) {
  const body = new RegExp(`interface ${name} \\{\\n([\\s\\S]*?)\\n  \\}`).exec(types)?.[1] ?? '';
  const members = body.matchAll(/\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*(\w+): number;/g);
  return new Map(
    Array.from(members, ([, comment, member]) => [member, comment.replace(/\s*\n\s*\* ?/g, ' ').trim()]),
  );
}

/** @param {import('../binding').NativeDescription[]} descriptions */
function helpOf(descriptions) {
  return new Map(descriptions.map(({ name, help }) => [name, help]));
}

test('the comments of ServerStats and WorkerStats are the descriptions of what is counted', () => {
  const { server, worker, channel } = binding.describeCounters();
  assert.deepEqual(numbersOf('ServerStats'), helpOf(server));
  assert.deepEqual(numbersOf('WorkerStats'), helpOf([...worker, ...channel]));
});

test('what is counted has a name of its own, a kind and a unit', () => {
  const { server, worker, channel } = binding.describeCounters();
  for (const descriptions of [server, [...worker, ...channel]]) {
    assert.equal(helpOf(descriptions).size, descriptions.length);
    for (const { name, kind, unit, help } of descriptions) {
      assert.match(name, /^[a-z]+([A-Z][a-z]+)*$/);
      assert.ok(['counter', 'gauge'].includes(kind));
      assert.ok(['bytes', 'connections', 'messages', 'times'].includes(unit));
      assert.match(help, /^[A-Z].*\.$/);
    }
  }
});
