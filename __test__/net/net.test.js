'use strict';

// corral/net in place of net: a program that does not ask for channels sees no difference.

const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const builtin = require('node:net');
const path = require('node:path');
const { test } = require('node:test');
const { promisify } = require('node:util');

const { next } = require('../helpers/events');
const { environment } = require('../helpers/programs');
const { WATCHDOG_MS, net, pathFor } = require('../helpers/ipc');

const NET = path.join(__dirname, '../../net.js');
const OURS = ['createServer', 'connect', 'createConnection'];

/** @param {string[]} args @param {NodeJS.ProcessEnv} [env] */
async function node(args, env) {
  const options = { timeout: WATCHDOG_MS, env: environment(env) };
  return await promisify(execFile)(process.execPath, args, options);
}

test('everything that net exports is there, and the same', () => {
  for (const name of Object.getOwnPropertyNames(builtin)) {
    if (OURS.includes(name)) assert.equal(typeof net[name], 'function', name);
    else assert.equal(net[name], /** @type {any} */ (builtin)[name], name);
  }
  assert.deepEqual(
    Object.keys(net).filter((name) => !Object.hasOwn(builtin, name)),
    ['Channel', 'ChannelServer'],
  );
});

test('what is a getter in net is one here: nothing is loaded for it', () => {
  for (const [name, expected] of Object.entries(Object.getOwnPropertyDescriptors(builtin))) {
    const descriptor = Object.getOwnPropertyDescriptor(net, name);
    assert.equal(descriptor?.get, expected.get, name);
    assert.equal(descriptor?.enumerable, expected.enumerable, name);
  }
});

for (const where of ['a path', 'a port']) {
  test(`a plain server and its client at ${where}`, { timeout: WATCHDOG_MS }, async (t) => {
    const server = net.createServer({ allowHalfOpen: true }, (/** @type {any} */ socket) =>
      socket.pipe(socket),
    );
    assert.ok(server instanceof builtin.Server);
    server.listen(where === 'a path' ? pathFor(t) : 0, where === 'a path' ? undefined : '127.0.0.1');
    await next(server, 'listening');
    const address = server.address();
    const client =
      where === 'a path' ? net.connect(address) : net.createConnection(address.port, '127.0.0.1', () => {});
    assert.ok(client instanceof builtin.Socket);
    client.setEncoding('utf8').end('hello');
    let text = '';
    for await (const part of client) text += part;
    assert.equal(text, 'hello');
    server.close();
    await next(server, 'close');
  });
}

test('arguments of net keep their errors', () => {
  for (const args of [[{ port: -1 }], [{ port: 'x' }], [{ path: 5 }], [{}], []]) {
    const codes = [builtin, net].map((module) => {
      try {
        /** @type {any} */ (module).connect(...args).on('error', () => {});
        return 'none';
      } catch (error) {
        return /** @type {any} */ (error).code;
      }
    });
    assert.equal(codes[1], codes[0]);
  }
  assert.throws(() => net.createServer(5), { code: 'ERR_INVALID_ARG_TYPE' });
});

test('named imports are those of require', { timeout: WATCHDOG_MS }, async () => {
  const program = `
    import * as named from '${NET.replace(/js$/, 'mjs')}';
    import { createRequire } from 'node:module';
    const required = createRequire('${NET}')('${NET}');
    const missing = Object.keys(required).filter((name) => !name.startsWith('_') && !(name in named));
    const other = Object.keys(required).filter((name) => name in named && named[name] !== required[name]);
    console.log(JSON.stringify({ missing, other, isDefault: named.default === required }));
  `;
  const { stdout } = await node(['--input-type=module', '-e', program]);
  const { missing, other, isDefault } = JSON.parse(stdout);
  // Names that newer Nodes have are to be had from the default.
  const known = [
    'createServer',
    'connect',
    'Server',
    'Socket',
    'isIP',
    'BlockList',
    'Channel',
    'ChannelServer',
  ];
  assert.deepEqual(
    known.filter((name) => missing.includes(name)),
    [],
  );
  assert.deepEqual({ other, isDefault }, { other: [], isDefault: true });
});

test('without the native binary plain net works, and channels say what is missing', {
  timeout: WATCHDOG_MS,
}, async () => {
  const program = `
    const net = require('${NET}');
    const codes = [];
    for (const make of [() => net.createServer({ ipc: true }), () => net.connect({ ipc: true, path: '/tmp/x' })]) {
      try { make(); } catch ({ code, message }) { codes.push(code, /CORRAL_NATIVE=0/.test(message)); }
    }
    const server = net.createServer((socket) => socket.end('plain')).listen(0, '127.0.0.1', () => {
      net.connect(server.address().port, '127.0.0.1').setEncoding('utf8').on('data', (text) => {
        console.log(JSON.stringify([...codes, text]));
        server.close();
      });
    });
  `;
  const { stdout } = await node(['-e', program], { CORRAL_NATIVE: '0' });
  const code = 'ERR_CORRAL_NO_NATIVE';
  assert.deepEqual(JSON.parse(stdout), [code, true, code, true, 'plain']);
});

test('only { ipc: true } asks for channels', () => {
  for (const ipc of [false, undefined, 1, 'true']) {
    assert.ok(net.createServer({ ipc }) instanceof builtin.Server, String(ipc));
  }
  assert.ok(net.createServer({ ipc: true }) instanceof net.ChannelServer);
});
