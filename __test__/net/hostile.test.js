'use strict';

// Clients that are none: whatever they send, the server lives, serves others and says what was wrong.

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const dgram = require('node:dgram');
const fs = require('node:fs');
const builtin = require('node:net');
const path = require('node:path');
const { test } = require('node:test');
const v8 = require('node:v8');

const { blockUntil, next, until } = require('../helpers/events');
const { isDead, openFiles } = require('../helpers/proc');
const {
  GREETING,
  WATCHDOG_MS,
  messages,
  net,
  open,
  pathFor,
  raw,
  record,
  scratch,
  serve,
  start,
} = require('../helpers/ipc');

const options = { timeout: WATCHDOG_MS };

/** What is no greeting, and the error's code. @type {Record<string, [string | Buffer, string]>} */
const NO_GREETINGS = {
  HTTP: ['GET / HTTP/1.1\r\nHost: x\r\n\r\n', 'ERR_CORRAL_BAD_HANDSHAKE'],
  TLS: [Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc]), 'ERR_CORRAL_BAD_HANDSHAKE'],
  'an empty line': ['\n', 'ERR_CORRAL_BAD_HANDSHAKE'],
  'other JSON': ['{"hello":"world"}\n', 'ERR_CORRAL_BAD_HANDSHAKE'],
  'an overlong line': [`{"corral":1,"x":"${'x'.repeat(5000)}"}\n`, 'ERR_CORRAL_BAD_HANDSHAKE'],
  'an overlong line without an end': [`{${'x'.repeat(5000)}`, 'ERR_CORRAL_BAD_HANDSHAKE'],
  'another version': ['{"corral":2,"serialization":"json","maxMessage":5}\n', 'ERR_CORRAL_VERSION'],
  'another serialization': [GREETING.replace('json', 'advanced'), 'ERR_CORRAL_SERIALIZATION'],
  'a refusal': ['{"corral":1,"refused":"peer"}\n', 'ERR_CORRAL_BAD_HANDSHAKE'],
  'a negative limit': ['{"corral":1,"serialization":"json","maxMessage":-1}\n', 'ERR_CORRAL_BAD_HANDSHAKE'],
  'a limit that is no integer': [
    '{"corral":1,"serialization":"json","maxMessage":1e99}\n',
    'ERR_CORRAL_BAD_HANDSHAKE',
  ],
};

/** What comes behind a good greeting. @type {Record<string, Record<string, string | Buffer>>} */
const BAD_FRAMES = {
  json: {
    garbage: 'garbage\n',
    'an empty line': '\n',
    'half a value': '{"a":\n',
    'two values': '{}{}\n',
  },
  advanced: {
    garbage: prefixed(Buffer.from('garbage')),
    'an empty frame': prefixed(Buffer.alloc(0)),
    'half a value': prefixed(Buffer.from([0xff, 0x0f, 0x6f, 0x22])),
    'an unknown host object': prefixed(Buffer.from([0xff, 0x0f, 0x5c, 0x07])),
    'a length beyond all limits': Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 2, 3]),
  },
};

/** @param {Buffer} body */
function prefixed(body) {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
}

/** @param {any} socket all that it says until it ends */
async function read(socket) {
  const parts = [];
  socket.on('data', (/** @type {Buffer} */ part) => parts.push(part));
  if (!socket.closed) await next(socket, 'close');
  return Buffer.concat(parts).toString('latin1');
}

/** That a server still serves. @param {any} t @param {any} server @param {any} [more] */
async function assertServes(t, server, more) {
  // Not only to the next: one that came before may be told just now.
  const answer = (/** @type {any} */ channel) => channel.respond((/** @type {any} */ message) => message);
  server.on('connection', answer);
  const client = open(t, server, more);
  assert.equal(await client.request('alive?'), 'alive?');
  server.removeListener('connection', answer);
  const closed = next(client, 'close');
  client.disconnect();
  await closed;
}

for (const [name, [bytes, code]] of Object.entries(NO_GREETINGS)) {
  test(`a client that begins with ${name} is told, and so is the server`, options, async (t) => {
    const server = await serve(t);
    const told = new Promise((resolve) => {
      server.once('clientError', (/** @type {any} */ error, /** @type {any} */ peer) =>
        resolve([error, peer]),
      );
    });
    const socket = await raw(t, server);
    socket.write(bytes);
    const [answer, [error, peer]] = await Promise.all([read(socket), told]);
    assert.equal(error.code, code, error.message);
    assert.deepEqual([peer.pid, peer.uid], [process.pid, process.getuid?.()]);
    assert.match(answer, /^\{"corral":1,"refused":"\w+"(,"serialization":"json")?\}\n$/);
    await assertServes(t, server);
  });
}

/**
 * Counts what a listener is told in each turn of the event loop.
 *
 * @param {any} t
 */
function perTurn(t) {
  const seen = { most: 0, told: 0, count: 0 };
  let now = 0;
  let isOver = false;
  const turn = () => {
    now = 0;
    if (!isOver) setImmediate(turn);
  };
  turn();
  t.after(() => {
    isOver = true;
  });
  const add = (/** @type {number} */ count) => {
    seen.told++;
    seen.count += count;
    seen.most = Math.max(seen.most, ++now);
  };
  return { seen, add };
}

/** What comes one by one, and then one for each code; two turns of the core may fall in one of the counter. */
const MOST_REFUSALS = 2 * (64 + 8);

test(
  'a client that is refused again and again is told of in bulk, and leaves others their turns',
  options,
  async (t) => {
    const server = await serve(t);
    const { seen, add } = perTurn(t);
    server.on('clientError', (/** @type {any} */ error) => {
      assert.equal(error.code, 'ERR_CORRAL_BAD_HANDSHAKE');
      add(error.count);
    });
    const visitors = start(t, 'visitors.js', [server.address(), '5000', '\n', 'wait']);
    // While this thread is busy they do not pile up.
    blockUntil(() => isDead(visitors.pid));
    const came = await visitors.line();
    await until(() => seen.count === came);
    assert.ok(seen.most <= MOST_REFUSALS, `${seen.most} in one turn`);
    assert.ok(seen.told <= MOST_REFUSALS, `${seen.told} events for ${came}`);
    await assertServes(t, server);
  },
);

test('clients beyond maxConnections are dropped in bulk', options, async (t) => {
  const server = await serve(t, { maxConnections: 1 });
  const { seen, add } = perTurn(t);
  server.on('drop', (/** @type {any} */ { peer, path: where, count }) => {
    assert.deepEqual([peer.uid, where], [process.getuid?.(), server.address()]);
    add(count);
  });
  await next(open(t, server), 'connect');
  const visitors = start(t, 'visitors.js', [server.address(), '2000', '', 'wait']);
  const came = await visitors.line();
  await until(() => seen.count === came);
  assert.ok(seen.most <= MOST_REFUSALS, `${seen.most} in one turn`);
});

test('who says nothing, or half a line, is sent away after handshakeTimeout', options, async (t) => {
  // Long enough for this side to say what it says before.
  const server = await serve(t, { handshakeTimeout: 1000 });
  for (const beginning of ['', GREETING.slice(0, 20)]) {
    const told = next(server, 'clientError');
    const socket = await raw(t, server);
    socket.write(beginning);
    const [answer, { code }] = await Promise.all([read(socket), told]);
    assert.equal(code, 'ERR_CORRAL_HANDSHAKE_TIMEOUT');
    assert.match(answer, /"refused":"timeout"/);
  }
  await assertServes(t, server);
});

test('half a line and the end: the server is told at once', options, async (t) => {
  const server = await serve(t);
  const told = next(server, 'clientError');
  const socket = await raw(t, server);
  socket.end(GREETING.slice(0, 20));
  assert.equal((await told).code, 'ERR_CORRAL_BAD_HANDSHAKE');
});

test('a greeting byte by byte, with messages right behind it, is one', options, async (t) => {
  const server = await serve(t);
  const accepted = next(server, 'connection');
  const socket = await raw(t, server);
  socket.setNoDelay?.(true);
  for (const byte of GREETING.slice(0, -1)) await new Promise((resolve) => socket.write(byte, resolve));
  socket.write('\n"one"\n"two"\n"thr');
  const peer = await accepted;
  assert.deepEqual(await messages(peer, 2), ['one', 'two']);
  socket.write('ee"\n');
  assert.deepEqual(await messages(peer, 1), ['three']);
});

test("without a 'clientError' listener there is a process warning", options, async (t) => {
  const server = await serve(t);
  const warned = next(process, 'warning');
  const socket = await raw(t, server);
  socket.write('GET /');
  assert.equal((await warned).code, 'ERR_CORRAL_BAD_HANDSHAKE');
});

for (const [serialization, table] of Object.entries(BAD_FRAMES)) {
  for (const [name, bytes] of Object.entries(table)) {
    test(
      `${name} on a channel ends it, with an error, and no other (${serialization})`,
      options,
      async (t) => {
        const server = await serve(t, { serialization });
        const good = open(t, server, { serialization });
        const others = next(server, 'connection');
        await next(good, 'connect');
        const other = await others;
        const told = next(server, 'clientError');
        const accepted = next(server, 'connection');
        const socket = await raw(t, server);
        const gone = read(socket);
        socket.write(GREETING.replace('json', serialization));
        const peer = await accepted;
        const closed = next(peer, 'close');
        socket.write(bytes);
        const [error] = await Promise.all([told, closed, gone]);
        assert.equal(typeof error.code, 'string', error.message);
        assert.match(error.code, /^ERR_CORRAL_/);
        const arrived = messages(other, 1);
        good.send('unharmed');
        assert.deepEqual(await arrived, ['unharmed']);
      },
    );
  }
}

for (const [serialization, frames] of Object.entries({
  json: ['"before"\n\n"behind"\n', '"further"\n'],
  advanced: [
    Buffer.concat([
      prefixed(v8.serialize('before')),
      prefixed(Buffer.of(0)),
      prefixed(v8.serialize('behind')),
    ]),
    prefixed(v8.serialize('further')),
  ],
})) {
  test(`messages behind one that nobody can read were told (${serialization})`, options, async (t) => {
    const server = await serve(t, { serialization });
    const accepted = next(server, 'connection');
    const socket = await raw(t, server);
    socket.write(GREETING.replace('json', serialization));
    const peer = await accepted;
    /** @type {any[]} */
    const got = [];
    peer.on('message', (/** @type {any} */ message) => got.push(message));
    const told = next(peer, 'error');
    // Several together, and some that are told by themselves.
    for (const bytes of frames) socket.write(bytes);
    assert.equal((await told).code, 'ERR_CORRAL_BAD_FRAME');
    assert.deepEqual(got, ['before']);
  });
}

test('half a frame and the end: the channel ends without a message', options, async (t) => {
  const server = await serve(t);
  const accepted = next(server, 'connection');
  const socket = await raw(t, server);
  socket.write(`${GREETING}"whole"\n{"half":`);
  const peer = await accepted;
  /** @type {any[]} */
  const got = [];
  peer.on('message', (/** @type {any} */ message) => got.push(message));
  peer.on('error', () => {});
  await until(() => got.length === 1);
  socket.destroy();
  await next(peer, 'close');
  assert.deepEqual(got, ['whole']);
});

test('a handle message without a descriptor is asked for again, and not delivered', options, async (t) => {
  const server = await serve(t);
  const accepted = next(server, 'connection');
  const socket = await raw(t, server);
  let answer = '';
  socket.setEncoding('utf8').on('data', (/** @type {string} */ text) => (answer += text));
  socket.write(GREETING);
  const peer = await accepted;
  const got = messages(peer, 1);
  socket.write('{"cmd":"NODE_HANDLE","type":"net.Socket","msg":"without"}\n"behind"\n');
  assert.deepEqual(await got, ['behind']);
  await until(() => answer.includes('NODE_HANDLE_NACK'));
});

test('acknowledgements that nobody waits for do no harm', options, async (t) => {
  const server = await serve(t);
  const accepted = next(server, 'connection');
  const socket = await raw(t, server);
  socket.write(
    `${GREETING}${'{"cmd":"NODE_HANDLE_ACK"}\n{"cmd":"NODE_HANDLE_NACK"}\n'.repeat(100)}"still"\n`,
  );
  assert.deepEqual(await messages(await accepted, 1), ['still']);
});

/**
 * Sends a handle with a message that says something else of it.
 *
 * @param {any} channel
 * @param {any} handle
 * @param {any} lies
 */
function sendLying(channel, handle, lies) {
  const { stringify } = JSON;
  JSON.stringify = (/** @type {any} */ value, /** @type {any[]} */ ...rest) =>
    stringify(value?.cmd === 'NODE_HANDLE' ? { ...value, ...lies } : value, ...rest);
  try {
    channel.send('a lie', handle);
  } finally {
    JSON.stringify = stringify;
  }
}

/**
 * That a handle that is not what its message says ends the channel it came on, and leaves nothing behind.
 *
 * @param {any} t
 * @param {any} server
 * @param {any} handle
 * @param {any} lies
 * @returns {Promise<Error>}
 */
async function assertCondemned(t, server, handle, lies) {
  const files = openFiles();
  const accepted = next(server, 'connection');
  const client = open(t, server);
  const peer = await accepted;
  client.on('error', () => {});
  peer.on('message', () => assert.fail('delivered'));
  const [error] = await Promise.all([
    next(peer, 'error'),
    next(peer, 'close'),
    next(client, 'close'),
    sendLying(client, handle, lies),
  ]);
  assert.equal(error.code, 'ERR_CORRAL_BAD_FRAME', error.message);
  // Fewer, if one that a test before has left was still to be closed.
  await until(() => openFiles() <= files);
  return error;
}

for (const [name, dgramType] of /** @type {[string, any][]} */ ([
  [
    'options that fail once it is bound',
    { type: 'udp4', recvBufferSize: 2 ** 32 - 1, sendBufferSize: 2 ** 31 },
  ],
  ['an unknown type', 'udp5'],
  ['no type', undefined],
])) {
  test(`a datagram socket with ${name} is closed once, and ends its channel only`, options, async (t) => {
    const server = await serve(t);
    const socket = dgram.createSocket('udp4').bind(0, '127.0.0.1');
    await next(socket, 'listening');
    t.after(() => socket.close());
    await assertCondemned(t, server, socket, { dgramType });
    // Whoever still listened on the descriptor would hear of it now.
    const asker = dgram.createSocket('udp4');
    t.after(() => asker.close());
    asker.send('ping', socket.address().port, '127.0.0.1');
    await next(socket, 'message');
    await assertServes(t, server);
  });
}

/**
 * Descriptors of every kind, each with the types that are true of it.
 *
 * @param {any} t
 * @returns {Promise<[string, { fd: number }, string[]][]>}
 */
async function everyKind(t) {
  const file = fs.openSync(__filename, 'r');
  const directory = fs.openSync(__dirname, 'r');
  const device = fs.openSync('/dev/null', 'r+');
  const fifoPath = path.join(scratch(t), 'fifo');
  execFileSync('mkfifo', [fifoPath]);
  const fifo = fs.openSync(fifoPath, 'r+');
  for (const fd of [file, directory, device, fifo]) t.after(() => fs.closeSync(fd));
  const epoll = Number(
    fs.readdirSync('/proc/self/fd').find((fd) => {
      try {
        return fs.readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:[eventpoll]';
      } catch {
        return false;
      }
    }),
  );
  const udp = dgram.createSocket('udp4').bind(0, '127.0.0.1');
  await next(udp, 'listening');
  t.after(() => udp.close());
  const listener = builtin.createServer().listen(0, '127.0.0.1');
  await next(listener, 'listening');
  t.after(() => listener.close());
  const accepted = next(listener, 'connection');
  const { port } = /** @type {any} */ (listener.address());
  const tcp = builtin.connect(port, '127.0.0.1');
  const other = await accepted;
  for (const socket of [tcp, other]) t.after(() => socket.destroy());
  const streams = ['net.Socket', 'net.Native'];
  const fdOf = (/** @type {any} */ owner) => ({ fd: owner._handle.fd });
  return [
    ['a file', { fd: file }, []],
    ['a directory', { fd: directory }, []],
    ['a device', { fd: device }, []],
    ['an epoll descriptor', { fd: epoll }, []],
    ['a FIFO', { fd: fifo }, streams],
    ['a TCP connection', fdOf(tcp), streams],
    ['a TCP listener', fdOf(listener), [...streams, 'net.Server']],
    [
      'a UDP socket',
      { fd: /** @type {any} */ (udp)[stateSymbol(udp)].handle.fd },
      ['dgram.Socket', 'dgram.Native'],
    ],
  ];
}

/** @param {any} socket a dgram.Socket */
function stateSymbol(socket) {
  return /** @type {symbol} */ (
    Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'state symbol')
  );
}

for (const type of ['net.Socket', 'net.Server', 'net.Native', 'dgram.Socket', 'dgram.Native']) {
  test(`what says that it is a ${type} and is none ends its channel only, and leaves no descriptor`, {
    ...options,
    skip: process.platform !== 'linux' && 'for Linux',
  }, async (t) => {
    const server = await serve(t);
    for (const [name, descriptor, types] of await everyKind(t)) {
      if (types.includes(type)) continue;
      await t.test(name, (inner) => assertCondemned(inner, server, descriptor, { type, dgramType: 'udp4' }));
    }
    await assertServes(t, server);
  });
}

/** @param {number} seed a small generator: the same inputs every time */
function generator(seed) {
  let state = seed;
  return (/** @type {number} */ below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** @param {(below: number) => number} random @param {string} serialization */
function nastyBytes(random, serialization) {
  const cmds = [
    'NODE_HANDLE',
    'NODE_HANDLE_ACK',
    'NODE_CLUSTER',
    'NODE_CORRAL_REQUEST',
    'NODE_CORRAL_REPLY',
    'x',
  ];
  const value = {
    cmd: cmds[random(cmds.length)],
    type: ['net.Socket', 'corral.File', 'dgram.Socket', '__proto__'][random(4)],
    id: random(5),
    msg: ['text', null, { deep: [1] }][random(3)],
    error: random(2) ? null : { code: 1 },
  };
  const isJson = serialization === 'json';
  const frame = isJson ? Buffer.from(`${JSON.stringify(value)}\n`) : prefixed(v8.serialize(value));
  const greeting = Buffer.from(GREETING.replace('json', serialization));
  const bytes = Buffer.concat(random(3) === 0 ? [frame] : [greeting, frame, frame]);
  switch (random(4)) {
    case 0: // Some bytes are others.
      for (let n = 0; n < 1 + random(8); n++) bytes[random(bytes.length)] = random(256);
      return bytes;
    case 1: // It breaks off.
      return bytes.subarray(0, random(bytes.length));
    case 2: // Noise behind the greeting.
      return Buffer.concat([greeting, Buffer.from(Array.from({ length: random(200) }, () => random(256)))]);
    default:
      return bytes;
  }
}

for (const serialization of ['json', 'advanced']) {
  test(`two thousand random inputs, and the server serves (${serialization})`, options, async (t) => {
    const server = await serve(t, { serialization, handshakeTimeout: 1000 });
    server.on('clientError', () => {});
    server.on('connection', (/** @type {any} */ channel) => {
      channel.on('error', () => {});
      channel.on('message', () => {});
    });
    await assertServes(t, server, { serialization });
    const files = openFiles();
    const random = generator(serialization === 'json' ? 4242 : 2424);
    for (let round = 0; round < 100; round++) {
      const sockets = Array.from({ length: 20 }, () => net.connect(server.address()));
      await Promise.all(
        sockets.map((socket) => {
          socket.on('error', () => {});
          socket.resume();
          socket.end(nastyBytes(random, serialization));
          return socket.closed || next(socket, 'close');
        }),
      );
    }
    await assertServes(t, server, { serialization });
    await until(() => server.connections.size === 0);
    await until(() => openFiles() <= files);
  });
}

/** What a server may say. @type {Record<string, [string, string]>} */
const NO_SERVERS = {
  HTTP: ['HTTP/1.1 400 Bad Request\r\n\r\n', 'ERR_CORRAL_BAD_HANDSHAKE'],
  'nothing and ends': ['', 'ERR_CORRAL_BAD_HANDSHAKE'],
  'another version': ['{"corral":7,"serialization":"json","maxMessage":5}\n', 'ERR_CORRAL_VERSION'],
  'another serialization': [GREETING.replace('json', 'advanced'), 'ERR_CORRAL_SERIALIZATION'],
  'a refusal': ['{"corral":1,"refused":"peer"}\n', 'ERR_CORRAL_PEER_NOT_ALLOWED'],
  'a refusal of a kind to come': ['{"corral":1,"refused":"mood"}\n', 'ERR_CORRAL_BAD_HANDSHAKE'],
};

for (const [name, [bytes, code]] of Object.entries(NO_SERVERS)) {
  test(`a client that meets a server that says ${name} gets a clear error`, options, async (t) => {
    const where = pathFor(t);
    const server = net.createServer((/** @type {any} */ socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.end(bytes));
    });
    await new Promise((resolve) => server.listen(where, () => resolve(0)));
    t.after(() => server.close());
    const client = open(t, where);
    const closed = next(client, 'close');
    assert.equal((await next(client, 'error')).code, code);
    await closed;
  });
}

test('a client that meets a server that says nothing gives up', options, async (t) => {
  const where = pathFor(t);
  const server = net.createServer((/** @type {any} */ socket) => socket.on('error', () => {}).resume());
  await new Promise((resolve) => server.listen(where, () => resolve(0)));
  t.after(() => server.close());
  const client = open(t, where, { handshakeTimeout: 50 });
  assert.equal((await next(client, 'error')).code, 'ERR_CORRAL_HANDSHAKE_TIMEOUT');
});

test('a client whose server refused before it was greeted hears why', {
  ...options,
  skip: !isRoot() && 'needs root',
}, async (t) => {
  const where = pathFor(t);
  const directory = require('node:path').dirname(where);
  require('node:fs').chmodSync(directory, 0o777);
  const refuser = start(t, 'refuser.js', [where], { uid: 65534, gid: 65534 });
  await refuser.line();
  // While this process thinks about the other user's server, that one refuses and is gone.
  const client = open(t, where, { allow: () => refuser.line().then(() => true) });
  const seen = record(client, ['error', 'close']);
  assert.equal((await next(client, 'error')).code, 'ERR_CORRAL_TOO_MANY_CONNECTIONS');
  // The question is answered by now, if only with an error, and that is nobody's any more.
  await refuser.kill();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(seen, ['error', 'close']);
});

function isRoot() {
  return process.getuid?.() === 0;
}

/**
 * A peer by hand that can send handles, and reads nothing.
 *
 * @param {any} t
 * @param {string} where
 */
async function mute(t, where) {
  // The only way to a descriptor over a socket without a channel of somebody's on it.
  const { Pipe, PipeConnectWrap, constants } = /** @type {any} */ (process).binding('pipe_wrap');
  const { WriteWrap } = /** @type {any} */ (process).binding('stream_wrap');
  const pipe = new Pipe(constants.IPC);
  t.after(() => pipe.close());
  const connecting = new PipeConnectWrap();
  const connected = new Promise((resolve) => {
    connecting.oncomplete = resolve;
  });
  pipe.connect(connecting, where);
  assert.equal(await connected, 0);
  return {
    /** @param {string} text @param {any} [handle] resolves with a libuv error, if any */
    write: (text, handle) =>
      new Promise((resolve) => {
        const request = new WriteWrap();
        request.oncomplete = resolve;
        const error = pipe.writeUtf8String(request, text, handle);
        // What is written at once is not told again.
        if (error !== 0 || !request.async) resolve(error);
      }),
  };
}

test('the answers to handles of a peer that read nothing were kept without end', options, async (t) => {
  const server = await serve(t, { maxQueuedBytes: 1000 });
  const accepted = next(server, 'connection');
  const peer = await mute(t, server.address());
  await peer.write(GREETING);
  const channel = await accepted;
  let arrived = 0;
  channel.on('message', (/** @type {any} */ _, /** @type {number} */ fd) => {
    arrived++;
    fs.closeSync(fd);
  });
  const told = next(server, 'clientError');
  let error = /** @type {any} */ (undefined);
  told.then((reason) => {
    error = reason;
  });
  const closed = next(channel, 'close');
  const udp = dgram.createSocket('udp4').bind(0, '127.0.0.1');
  await next(udp, 'listening');
  t.after(() => udp.close());
  const { handle } = /** @type {any} */ (udp)[stateSymbol(udp)];
  const frame = '{"cmd":"NODE_HANDLE","type":"corral.File","msg":1}\n';
  let sent = 0;
  while (error === undefined) {
    assert.ok(sent < 10_000, `${sent} answers were kept`);
    for (let n = 0; n < 50; n++) if ((await peer.write(frame, handle)) === 0) sent++;
    await until(() => arrived >= sent || error !== undefined);
  }
  assert.equal(error.code, 'ERR_CORRAL_BAD_FRAME');
  assert.match(error.message, /the answers not read/);
  await closed;
  await assertServes(t, server);
});
