'use strict';

// What docs/security.md says is held by tests, and it names them: they are there.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const ROOT = path.join(__dirname, '..');

/**
 * @param {string} directory
 * @param {string} extension
 * @returns {string[]} the text of each file in it, and below it
 */
function textsIn(directory, extension) {
  return fs.readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(directory, entry.name);
    if (entry.isDirectory()) return textsIn(file, extension);
    return entry.name.endsWith(extension) ? [fs.readFileSync(file, 'utf8')] : [];
  });
}

/** A test's title in the source: in quotes; or as a program's, among others in a table. */
const TITLES = [/\btest\(\s*(['"`])((?:\\.|(?!\1)[^\\])+)\1/g, /^ {2}(['"])(.+)\1: \{$/gm];
const RUST_TITLE = /#\[test\]\s+(?:#\[.*\]\s+)*fn (\w+)/g;

/** @returns {RegExp[]} the titles of all tests; anything may stand for what is filled in */
function titles() {
  /** @type {string[]} */
  const found = [];
  for (const text of textsIn(__dirname, '.js')) {
    for (const pattern of TITLES) for (const [, , title] of text.matchAll(pattern)) found.push(title);
  }
  for (const text of ['src', 'bus/src'].flatMap((crate) => textsIn(path.join(ROOT, crate), '.rs'))) {
    for (const [, title] of text.matchAll(RUST_TITLE)) found.push(title);
  }
  return found.map((title) => {
    const parts = title.replace(/\\(.)/g, '$1').split(/\$\{[^}]*\}/);
    return new RegExp(`^${parts.map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('.+')}$`);
  });
}

test('every line of the threat model has a test, and every test that it names is there', () => {
  const known = titles();
  const rows = fs
    .readFileSync(path.join(ROOT, 'docs/security.md'), 'utf8')
    .split('\n')
    .filter((line) => /^\| [^-]/.test(line) && !line.endsWith('| Test |'));
  assert.ok(rows.length > 0);
  for (const row of rows) {
    const [last] = row.split('|').slice(-2);
    const named = [...last.matchAll(/`([^`]+)`/g)].map(([, name]) => name);
    assert.ok(named.length > 0, `no test: ${row}`);
    for (const name of named) {
      assert.ok(
        known.some((title) => title.test(name)),
        `no such test: ${name}`,
      );
    }
  }
});
