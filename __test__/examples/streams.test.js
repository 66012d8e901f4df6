'use strict';

// Runs each example of streams, over TCP or stdin and stdout, and checks what its header comment promises.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { test } = require('node:test');
const { Example, scratchDirectory } = require('../helpers/example.js');

/** @typedef {import('node:test').TestContext} TestContext */

/** @param {TestContext} t */
async function startEchoServer(t) {
  const server = new Example(t, 'echo-server.js');
  const [, port] = await server.line(/^echo on port (\d+)$/);
  return { server, PORT: port };
}

/** @param {Example} example */
async function assertEndsWell(example) {
  assert.deepEqual(await example.exit, { code: 0, signal: null });
  assert.deepEqual(example.processes(), []);
}

test('echo: each client gets back what it has typed', async (t) => {
  const { server, PORT } = await startEchoServer(t);
  const clients = [1, 2].map(() => new Example(t, 'echo-client.js', { PORT }, { stdin: 'pipe' }));
  for (const [i, client] of clients.entries()) {
    client.stdin.write(`grüße ${i}\n`);
    await client.line(new RegExp(`^grüße ${i}$`));
  }
  clients[0].stdin.end('and the last words');
  await assertEndsWell(clients[0]);
  assert.equal(clients[0].text, 'grüße 0\nand the last words');
  await server.lines(/^client \d has gone after 28 bytes$/, 1);

  // The second one is still there when the server is told to stop.
  server.pressCtrlC();
  await server.line(/^no more clients$/);
  clients[1].stdin.write('still here?\n');
  await clients[1].line(/^still here\?$/);
  clients[1].stdin.end();
  await assertEndsWell(clients[1]);
  await assertEndsWell(server);
});

test('echo: a whole file comes back', async (t) => {
  const { PORT } = await startEchoServer(t);
  const file = path.join(scratchDirectory(t), 'file');
  const text = Array.from({ length: 50_000 }, (_, i) => `line ${i} größer\n`).join('');
  fs.writeFileSync(file, text);
  const stdin = fs.openSync(file, 'r');
  t.after(() => fs.closeSync(stdin));
  const client = new Example(t, 'echo-client.js', { PORT }, { stdin });
  await assertEndsWell(client);
  assert.ok(`${client.text}\n` === text, 'what came back is the file');
});

test('echo: a client that vanishes does not end the server', async (t) => {
  const { server, PORT } = await startEchoServer(t);
  const socket = net.connect(Number(PORT), 'localhost');
  await server.line(/^client 1 has come$/);
  socket.resetAndDestroy();
  await server.line(/^client 1: .*ECONNRESET$/);
  await server.line(/^client 1 has gone /);
  server.pressCtrlC();
  await assertEndsWell(server);
});

test('echo: without a server the client says so and ends with code 1', async (t) => {
  const listener = net.createServer().listen(0, 'localhost');
  await once(listener, 'listening');
  const { port } = /** @type {net.AddressInfo} */ (listener.address());
  // The port of a connection's other end: nobody listens on it, and as long as it is in use nobody will.
  const holder = net.connect(port, 'localhost');
  await once(holder, 'connect');
  const client = new Example(t, 'echo-client.js', { PORT: String(holder.localPort) }, { stdin: 'pipe' });
  assert.deepEqual(await client.exit, { code: 1, signal: null });
  assert.equal(client.text, `port ${holder.localPort}: ECONNREFUSED`);
  holder.destroy();
  listener.close();
});

test('echo: when the server goes away the client says so and ends with code 1', async (t) => {
  const { server, PORT } = await startEchoServer(t);
  const client = new Example(t, 'echo-client.js', { PORT }, { stdin: 'pipe' });
  client.stdin.write('hello\n');
  await client.line(/^hello$/);
  process.kill(server.pid, 'SIGKILL');
  assert.deepEqual(await client.exit, { code: 1, signal: null });
  assert.match(client.text, /^hello\n(the server has gone|port \d+: ECONNRESET)$/);
});

test('stdio-json: prints the answer to each word', async (t) => {
  const example = new Example(t, 'stdio-json.js');
  await assertEndsWell(example);
  assert.deepEqual(example.text.split('\n'), [
    '1: hello -> HELLO',
    '2: größer -> GRÖSSER',
    '3: 世界 -> 世界',
    '4: 🐎 corral -> 🐎 CORRAL',
    'the child ended (code 0), 0 answers are missing',
  ]);
});

test('stdio-json: its child answers what arrives in pieces, and ends with its stdin', async (t) => {
  const child = new Example(t, 'stdio-json.js', {}, { args: ['--child'], stdin: 'pipe' });
  const requests = Buffer.from('{"id":1,"word":"a"}\n{"id":2,"word":"ö"}\n');
  const cut = requests.indexOf('ö') + 1;
  child.stdin.write(requests.subarray(0, cut));
  // It has read as far as the first half of the character.
  await child.line(/^\{"id":1,"upper":"A"\}$/);
  child.stdin.write(requests.subarray(cut));
  await child.line(/^\{"id":2,"upper":"Ö"\}$/);
  child.stdin.end();
  await assertEndsWell(child);
});

test('stdio-json: a child that dies without having answered is noticed', async (t) => {
  const words = Array.from({ length: 2_000 }, (_, i) => `${i}`);
  // Its preload ends the child, which is the only one with that argument, at its first message.
  const preload = path.join(scratchDirectory(t), 'preload.js');
  fs.writeFileSync(
    preload,
    `if (process.argv[2] === '--child') process.stdin.once('data', () => process.kill(process.pid, 'SIGKILL'));`,
  );
  const NODE_OPTIONS = `--require ${JSON.stringify(preload)}`;
  const example = new Example(t, 'stdio-json.js', { NODE_OPTIONS }, { args: words });
  assert.deepEqual(await example.exit, { code: 1, signal: null });
  await example.line(/^the child ended \(SIGKILL\), 2000 answers are missing$/);
});
