'use strict';

// Who may connect to whom, and what becomes of files.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const { blockUntil, next, until } = require('../helpers/events');
const { isDead } = require('../helpers/proc');
const { WATCHDOG_MS, net, open, pair, pathFor, scratch, serve, start } = require('../helpers/ipc');

const options = { timeout: WATCHDOG_MS };
const NOBODY = { uid: 65534, gid: 65534 };
const asRoot = { ...options, skip: process.getuid?.() !== 0 && 'only root has a second user at hand' };

/** @param {any} t a path that another user can reach */
function publicPath(t) {
  const directory = scratch(t);
  fs.chmodSync(directory, 0o755);
  return path.join(directory, 's');
}

/** @param {string} where @returns {Promise<any>} */
function failure(where) {
  const server = net.createServer({ ipc: true });
  server.listen(where, () => server.close());
  return next(server, 'error');
}

for (const [access, mode] of /** @type {[any, number][]} */ ([
  [{}, 0o600],
  [{ readableAll: true }, 0o644],
  [{ writableAll: true }, 0o622],
  [{ readableAll: true, writableAll: true }, 0o666],
])) {
  test(`the file's mode with ${JSON.stringify(access)}`, options, async (t) => {
    const server = await serve(t, {}, { listen: access });
    assert.equal(fs.statSync(server.address()).mode & 0o777, mode);
  });
}

for (const [who, mode] of /** @type {[string, number][]} */ ([
  ['everybody', 0o777],
  ['its group', 0o775],
])) {
  test(`a directory that ${who} can write is refused, unless it is sticky`, options, async (t) => {
    const directory = scratch(t);
    fs.chmodSync(directory, mode);
    const where = path.join(directory, 's');
    const error = await failure(where);
    assert.equal(error.code, 'ERR_CORRAL_UNSAFE_DIRECTORY');
    assert.ok(error.message.includes(`${directory} can be written by ${who}`), error.message);
    assert.deepEqual(fs.readdirSync(directory), []);
    fs.chmodSync(directory, 0o1000 | mode);
    await serve(t, {}, { path: where });
  });
}

test('a stale socket is replaced, a live one is in use', options, async (t) => {
  const where = pathFor(t);
  const child = start(t, 'alive.js', ['ref', where]);
  await child.line();
  const error = await failure(where);
  assert.deepEqual([error.code, error.syscall, error.address], ['EADDRINUSE', 'listen', where]);
  await next(open(t, where), 'connect');
  await child.kill();
  assert.equal(fs.existsSync(where), true);
  const server = await serve(t, {}, { path: where });
  await next(open(t, server), 'connect');
});

test('a file, a link and a directory are never removed', options, async (t) => {
  const directory = scratch(t);
  const file = path.join(directory, 'file');
  fs.writeFileSync(file, 'precious');
  fs.symlinkSync(file, path.join(directory, 'link'));
  fs.symlinkSync('/nowhere', path.join(directory, 'broken'));
  fs.mkdirSync(path.join(directory, 'directory'));
  const before = fs.readdirSync(directory);
  for (const name of before) {
    assert.equal((await failure(path.join(directory, name))).code, 'EADDRINUSE', name);
  }
  assert.deepEqual(fs.readdirSync(directory), before);
  assert.equal(fs.readFileSync(file, 'utf8'), 'precious');
});

test('errors of listen and connect are those of net', options, async (t) => {
  const directory = scratch(t);
  const file = path.join(directory, 'file');
  fs.writeFileSync(file, '');
  const long = path.join(directory, 'x'.repeat(200));
  /** @type {[string, string][]} */
  const targets = [
    [path.join(directory, 'missing'), 'ENOENT'],
    [file, 'ECONNREFUSED'],
  ];
  for (const [where, code] of targets) {
    const seen = [];
    for (const more of [{}, { ipc: true }]) {
      const connection = net.connect({ path: where, ...more });
      const closed = next(connection, 'close');
      const error = await next(connection, 'error');
      seen.push([error.code, error.errno, error.syscall, error.address, error.message]);
      await closed;
    }
    assert.equal(seen[0][0], code);
    assert.deepEqual(seen[1], seen[0]);
  }
  assert.equal((await failure('/no/such/directory/s')).code, 'EACCES');
  assert.equal((await failure(long)).code, 'EINVAL');
  assert.equal((await next(open(t, long), 'error')).code, 'EINVAL');
});

test('both ends know who the other is', options, async (t) => {
  const server = await serve(t);
  const accepted = next(server, 'connection');
  const child = start(t, 'client.js', [server.address()]);
  const peer = await accepted;
  const [uid, gid] = [process.getuid?.(), process.getgid?.()];
  assert.deepEqual(peer.peer, { pid: child.pid, uid, gid });
  assert.deepEqual((await child.line()).peer, { pid: process.pid, uid, gid });
});

test('the file goes with the server: close, process.exit, an uncaught exception', options, async (t) => {
  const { server } = await pair(t);
  const where = server.address();
  for (const channel of server.connections) channel.disconnect();
  await new Promise((resolve) => server.close(resolve));
  assert.equal(fs.existsSync(where), false);
  for (const [how, expected] of /** @type {[string, number][]} */ ([
    ['exit', 3],
    ['throw', 1],
    ['end', 0],
  ])) {
    const child = start(t, 'leave.js', [how, where]);
    const { code, stderr } = await child.exited;
    assert.equal(code, expected, stderr);
    assert.equal(fs.existsSync(where), false, how);
  }
});

test('an abstract name', { ...options, skip: process.platform !== 'linux' && 'for Linux' }, async (t) => {
  const name = `\0corral-test-${process.pid}-${Date.now()}`;
  const server = await serve(t, {}, { path: name });
  assert.equal(server.address(), name);
  await next(open(t, name), 'connect');
  assert.equal((await failure(name)).code, 'EADDRINUSE');
});

test('another user is refused, and both sides are told', asRoot, async (t) => {
  const server = await serve(t, {}, { path: publicPath(t), listen: { writableAll: true } });
  const told = new Promise((resolve) => {
    server.once('clientError', (/** @type {any} */ error, /** @type {any} */ peer) => resolve([error, peer]));
  });
  const child = start(t, 'client.js', [server.address()], NOBODY);
  assert.deepEqual(await child.line(), { event: 'error', code: 'ERR_CORRAL_PEER_NOT_ALLOWED' });
  const [error, peer] = await told;
  assert.equal(error.code, 'ERR_CORRAL_PEER_NOT_ALLOWED');
  assert.match(error.message, /65534/);
  assert.deepEqual(peer, { pid: child.pid, ...NOBODY });
  assert.equal(server.connections.size, 0);
});

test("without writableAll the file's mode keeps another user out", asRoot, async (t) => {
  const server = await serve(t, { allow: () => true }, { path: publicPath(t) });
  const child = start(t, 'client.js', [server.address()], NOBODY);
  assert.deepEqual(await child.line(), { event: 'error', code: 'EACCES' });
});

/** @type {Record<string, [(peer: any) => any, string]>} */
const ANSWERS = {
  true: [() => true, 'connect'],
  'a promise of true': [async () => true, 'connect'],
  false: [() => false, 'error'],
  'a promise of false': [async () => false, 'error'],
  'something truthy': [() => 1, 'error'],
};

for (const [name, [answer, event]] of Object.entries(ANSWERS)) {
  test(`allow answers ${name} about another user`, asRoot, async (t) => {
    /** @type {any[]} */
    const asked = [];
    const allow = (/** @type {any} */ peer) => {
      asked.push(peer);
      return answer(peer);
    };
    const server = await serve(t, { allow }, { path: publicPath(t), listen: { writableAll: true } });
    server.on('clientError', () => {});
    const child = start(t, 'client.js', [server.address()], NOBODY);
    assert.equal((await child.line()).event, event);
    assert.deepEqual(asked, [{ pid: child.pid, ...NOBODY }]);
  });
}

for (const how of ['throws', 'rejects']) {
  test(`an allow that ${how} refuses, and the server has an error`, asRoot, async (t) => {
    const failed = new Error('no list of users');
    const allow = () => {
      if (how === 'throws') throw failed;
      return Promise.reject(failed);
    };
    const server = await serve(t, { allow }, { path: publicPath(t), listen: { writableAll: true } });
    server.on('clientError', () => {});
    const error = next(server, 'error');
    const child = start(t, 'client.js', [server.address()], NOBODY);
    assert.equal((await child.line()).code, 'ERR_CORRAL_PEER_NOT_ALLOWED');
    assert.equal(await error, failed);
    assert.equal(server.listening, true);
  });
}

test('an allow that takes too long is not waited for', asRoot, async (t) => {
  const allow = () => new Promise(() => {});
  const where = { path: publicPath(t), listen: { writableAll: true } };
  const server = await serve(t, { allow, handshakeTimeout: 50 }, where);
  const told = next(server, 'clientError');
  const child = start(t, 'client.js', [server.address()], NOBODY);
  assert.equal((await child.line()).code, 'ERR_CORRAL_HANDSHAKE_TIMEOUT');
  assert.equal((await told).code, 'ERR_CORRAL_HANDSHAKE_TIMEOUT');
});

test('allow is asked about a bounded number of others at a time, who come and go', asRoot, async (t) => {
  let [asking, most, asked] = [0, 0, 0];
  /** @type {((answer: boolean) => void)[]} */
  const answers = [];
  const allow = () => {
    asked++;
    most = Math.max(most, ++asking);
    return new Promise((resolve) => answers.push(resolve));
  };
  // None is given up before all have been.
  const options = { allow, handshakeTimeout: WATCHDOG_MS };
  const server = await serve(t, options, { path: publicPath(t), listen: { writableAll: true } });
  let dropped = 0;
  server.on('drop', (/** @type {any} */ { count }) => {
    dropped += count;
  });
  server.on('clientError', () => {});
  const visitors = start(t, 'visitors.js', [server.address(), '2000', ''], NOBODY);
  const came = await visitors.line();
  await until(() => asked + dropped === came);
  assert.equal(most, 256);
  for (const answer of answers.splice(0)) answer(false);
  // There is room again.
  const again = start(t, 'visitors.js', [server.address(), '1', ''], NOBODY);
  await again.line();
  await until(() => asked === 257);
  for (const answer of answers) answer(false);
});

test("another user's client that is refused as fast as it can come is told of in bulk", asRoot, async (t) => {
  const server = await serve(t, {}, { path: publicPath(t), listen: { writableAll: true } });
  let [told, count] = [0, 0];
  server.on('clientError', (/** @type {any} */ error, /** @type {any} */ { uid }) => {
    assert.deepEqual([error.code, uid], ['ERR_CORRAL_PEER_NOT_ALLOWED', NOBODY.uid]);
    told++;
    count += error.count;
  });
  const visitors = start(t, 'visitors.js', [server.address(), '5000', ''], NOBODY);
  blockUntil(() => isDead(visitors.pid));
  const came = await visitors.line();
  await until(() => count === came);
  // 64 one by one, and the rest together; and so again if some were still in the backlog.
  assert.ok(told < came / 4, `${told} events for ${came}`);
  await next(open(t, server), 'connect');
});

test('allow is not asked about the own user', options, async (t) => {
  await pair(t, { allow: () => assert.fail('asked') });
});

test("a client does not trust another user's server, unless it allows it", asRoot, async (t) => {
  const directory = scratch(t);
  fs.chownSync(directory, NOBODY.uid, NOBODY.gid);
  const where = path.join(directory, 's');
  const child = start(t, 'alive.js', ['ref', where], NOBODY);
  await child.line();
  const refused = open(t, where);
  let sent = 0;
  refused.send('secret', (/** @type {any} */ error) => (sent += error ? 0 : 1));
  assert.equal((await next(refused, 'error')).code, 'ERR_CORRAL_PEER_NOT_ALLOWED');
  assert.equal(sent, 0);
  const allowed = open(t, where, { allow: (/** @type {any} */ { uid }) => uid === NOBODY.uid });
  await next(allowed, 'connect');
  assert.deepEqual(allowed.peer, { pid: child.pid, ...NOBODY });
});
