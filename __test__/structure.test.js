'use strict';

// How the files hang together: the crates and lib/ have no circles of imports, lib/ has few floors, files are short,
// and what the primary and named sockets have in common stands once.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const structure = require('../scripts/lib-structure');

/** How many files the longest chain of requires in lib/ may have. */
const MAX_FLOORS = 7;

/** How many lines a file may have without its tests. */
const MAX_LINES = 450;

/** How many lines in a row src/primary and src/ipc may have alike. */
const MAX_EQUAL = 6;

const rust = structure.rustFiles();
const allRust = structure.CRATES.flatMap(structure.rustFiles);
const lib = structure.libFiles();

test('no file of Rust imports, in the end, itself', () => {
  for (const crate of structure.CRATES) assert.deepEqual(structure.circles(structure.rustImports(crate)), []);
});

test('src/lib.rs says which folders are above which, and no import points upward', () => {
  const head = fs.readFileSync(path.join(path.dirname(__dirname), 'src/lib.rs'), 'utf8');
  const below = structure.floorsIn(/^\/\/! (\w+ -> .*)$/m.exec(head)?.[1] ?? '');
  const folderOf = (/** @type {string} */ file) => file.split('/')[1].replace(/\.rs$/, '');
  const folders = new Set(rust.map(folderOf));
  folders.delete('lib');
  assert.deepEqual([...below.keys()].sort(), [...folders].sort());
  const upward = [...structure.rustImports()].flatMap(([file, imports]) =>
    [...imports]
      .filter((other) => below.get(folderOf(other))?.has(folderOf(file)))
      .map((other) => [file, other]),
  );
  assert.deepEqual(upward, []);
});

test('no file of lib/ requires, in the end, itself', () => {
  assert.deepEqual(structure.circles(structure.libImports()), []);
});

test('lib/ has no more floors than it may', () => {
  assert.deepEqual(structure.circles(structure.libImports()), [], 'there are no floors in a circle');
  const floors = structure.floors(structure.libImports());
  const tooHigh = [...floors].filter(([, floor]) => floor > MAX_FLOORS);
  assert.deepEqual(tooHigh, []);
});

test('no file is longer than it may be', () => {
  const long = [...allRust, ...lib].filter((file) => structure.linesOf(file) > MAX_LINES);
  assert.deepEqual(long, []);
});

test('src/primary and src/ipc have no code twice', () => {
  const under = (/** @type {string} */ folder) => rust.filter((file) => file.startsWith(`src/${folder}/`));
  assert.deepEqual(structure.equalRuns(under('primary'), under('ipc'), MAX_EQUAL), []);
});

test('a name that mod.rs passes on counts for the file that defines it', () => {
  const imports = structure.rustImports();
  const expected = [
    // By `use crate::reactor::Registration`, which reactor/mod.rs passes on.
    ['src/channel/driver/mod.rs', 'src/reactor/registration.rs'],
    // By `use super::side::Side`.
    ['src/ipc/handshake.rs', 'src/ipc/side.rs'],
    // By `crate::address::Peer`, in the middle of the code.
    ['src/primary/server.rs', 'src/address.rs'],
  ];
  for (const [file, imported] of expected) {
    assert.ok(imports.get(file)?.has(imported), `${file} does not import ${imported}`);
  }
  assert.deepEqual(
    structure.circles(
      new Map([
        ['a', new Set(['b'])],
        ['b', new Set(['c'])],
        ['c', new Set(['b'])],
      ]),
    ),
    [['b', 'c']],
  );
  const floors = structure.floors(
    new Map([
      ['a', new Set(['b', 'c'])],
      ['b', new Set(['c'])],
      ['c', new Set()],
    ]),
  );
  assert.deepEqual([...floors].sort(), [
    ['a', 3],
    ['b', 2],
    ['c', 1],
  ]);
});
