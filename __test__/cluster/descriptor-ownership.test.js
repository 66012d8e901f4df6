'use strict';

// Who closes a descriptor that cannot be what its message says. Closing it twice would close somebody else's.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const net = require('node:net');
const path = require('node:path');
const { test } = require('node:test');

const handles = JSON.stringify(path.join(__dirname, '../../lib/channel/handles.js'));

// Descriptor 3 is a connected socket, inherited and nobody's yet.
const PROGRAM = `
  const fs = require('node:fs');
  const { putTogether } = require(${handles});
  let taken, closed;
  try {
    putTogether({}, { type: process.argv[1] }, 3);
  } catch (error) {
    taken = error.descriptorTaken === true;
  }
  setImmediate(() => {
    try {
      closed = !fs.fstatSync(3);
    } catch (error) {
      closed = error.code === 'EBADF';
    }
    console.log(JSON.stringify({ taken, closed }));
  });
`;

/** @param {string} type */
async function ownership(type) {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect(/** @type {net.AddressInfo} */ (server.address()));
  await once(client, 'connect');
  const child = spawn(process.execPath, ['-e', PROGRAM, type], {
    stdio: ['ignore', 'pipe', 'inherit', client],
  });
  let output = '';
  /** @type {import('node:stream').Readable} */ (child.stdout).on('data', (chunk) => {
    output += chunk;
  });
  await once(child, 'close');
  client.destroy();
  server.close();
  return JSON.parse(output);
}

test('a net.Server that cannot listen has been closed by Node, and says so', async () => {
  assert.deepEqual(await ownership('net.Server'), { taken: true, closed: true });
});

test("a handle of an unknown type is still the caller's to close", async () => {
  assert.deepEqual(await ownership('no such type'), { taken: false, closed: false });
});
