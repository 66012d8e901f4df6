'use strict';

// Names and formats on the wire stand in one file per language, and the two files say the same.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const v8 = require('node:v8');

/** @type {Record<string, any>} */
const protocol = require('../lib/protocol');

const root = path.dirname(__dirname);
const NAMES = 'src/proto/names.rs';
const PROTOCOL = 'lib/protocol.js';

/** @param {string} file */
function read(file) {
  return fs.readFileSync(path.join(root, file), 'utf8');
}

/** @param {string} directory @param {RegExp} ending @returns {string[]} */
function filesUnder(directory, ending) {
  return fs.readdirSync(path.join(root, directory), { withFileTypes: true }).flatMap((entry) => {
    const name = `${directory}/${entry.name}`;
    if (entry.isDirectory()) return filesUnder(name, ending);
    return ending.test(name) ? [name] : [];
  });
}

/** What names.rs has. */
const rust = Object.fromEntries(
  Array.from(read(NAMES).matchAll(/^pub const (\w+): [^=]+ = (.+);$/gm), ([, name, value]) => [
    name,
    value.startsWith('"') ? JSON.parse(value) : Number(value),
  ]),
);

/** What Rust deals with by itself. */
const OF_RUST = ['HANDLE_ACK', 'HANDLE_NACK', 'MEMORY', 'V8_HEADER'];

test('what Rust has on the wire JavaScript has under the same name, but for what Rust deals with by itself', () => {
  assert.deepEqual(
    OF_RUST.filter((name) => !(name in rust)),
    [],
    `they are in ${NAMES}`,
  );
  for (const [name, value] of Object.entries(rust)) {
    if (OF_RUST.includes(name)) assert.ok(!(name in protocol), `JavaScript knows ${name} too: compare it`);
    else assert.equal(protocol[name], value, name);
  }
});

test("libuv's flags are the same in both languages", () => {
  const flag = /^const UDP_REUSE_PORT: u32 = (\d+);$/m.exec(read('src/os/bind.rs'))?.[1];
  assert.equal(protocol.UDP_REUSE_PORT, Number(flag));
});

test('no name on the wire is spelled outside of the two files', () => {
  // Without comments, and in Rust without tests.
  const codeOf = (/** @type {string} */ file) =>
    read(file)
      .split(/^#\[cfg\(test\)\]\n(?:pub )?mod \w+ \{/m)[0]
      .replace(/\/\*[\s\S]*?\*\/|(?<!:)\/\/.*/g, '');
  const files = [
    ...filesUnder('src', /\.rs$/).filter((file) => !/(^|\/)tests(\/|\.rs$)/.test(file) && file !== NAMES),
    ...filesUnder('lib', /\.js$/).filter((file) => file !== PROTOCOL),
  ];
  const pattern =
    /(?<![A-Z_])NODE_(?:CORRAL_|CLUSTER(?!_SCHED)|HANDLE|SOCKET_|DEBUG_)\w*|CORRAL_LANE\w*|corral\.(?:Peer|File)\b/g;
  for (const file of files) assert.deepEqual(codeOf(file).match(pattern) ?? [], [], file);
});

test("a frame in V8's format has its length in front and begins with V8's header", () => {
  const frame = Buffer.concat([Buffer.alloc(protocol.PREFIX), v8.serialize('x'.repeat(0x1234))]);
  protocol.setPrefix(frame);
  const length = frame.length - protocol.PREFIX;
  // As `u32::to_be_bytes` in names.rs.
  assert.deepEqual([...frame.subarray(0, protocol.PREFIX)], [0, 0, length >> 8, length & 0xff]);
  assert.equal(protocol.lengthAt(frame, 0), length);
  assert.equal(frame[protocol.PREFIX], rust.V8_HEADER);
});

test('what the primary says of a lane the worker reads', () => {
  for (const advanced of [true, false]) {
    const lane = { descriptor: 4, inode: 4_294_967_297, advanced };
    assert.deepEqual(protocol.readLane(protocol.writeLane(lane)), lane);
  }
});
