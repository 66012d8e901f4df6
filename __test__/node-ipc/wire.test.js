'use strict';

// What corral/node-ipc sends, and what it makes of anything that it receives.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const net = require('node:net');
const { describe, test } = require('node:test');

const { IPC } = require('../../node-ipc');
const { LIMIT, OURS, TRANSPORTS, next, pair, plainClient, plainServer } = require('../helpers/node-ipc');

const UNIX = TRANSPORTS['a Unix socket'];

/** What 'error' handlers get. @typedef {NodeJS.ErrnoException & { response?: string }} Failure */

describe('on the wire', LIMIT, () => {
  test('what is sent is JSON with the delimiter behind it', async (t) => {
    const { socket, client } = await plainServer(t);
    socket.setEncoding('utf8');
    for (const [data, text] of [
      ['\f', '"\\f"'],
      [undefined, '{}'],
      [null, '{}'],
      ['', '{}'],
      [socket, '{}'],
      [0, '0'],
      [false, 'false'],
    ]) {
      client.emit('a', data);
      assert.deepEqual(await once(socket, 'data'), [`{"type":"a","data":${text}}\f`]);
    }
  });

  for (const delimiter of ['\f', '\n--\n']) {
    test(`messages arrive in pieces of any size, delimiter ${JSON.stringify(delimiter)}`, async (t) => {
      const { server, client } = await plainClient(t, { delimiter });
      /** @type {any[]} */
      const received = [];
      server.on('message', (/** @type {any} */ data) => received.push(data));
      const texts = ['wörld 🌍', 'second', '€'.repeat(10)];
      const end = Buffer.from(delimiter);
      const frames = texts.map((data) =>
        Buffer.concat([Buffer.from(JSON.stringify({ type: 'message', data })), end]),
      );
      const bytes = Buffer.concat(frames);
      client.setNoDelay();
      for (const size of [1, 2, 3, 7, bytes.length]) {
        // The answer tells that a piece has been read, so that the next is one of its own.
        for (let i = 0; i < bytes.length; i += size) {
          const read = once(server.sockets[0], 'data');
          client.write(bytes.subarray(i, i + size));
          await read;
        }
        assert.deepEqual(received.splice(0), texts, `in pieces of ${size}`);
      }
    });
  }

  for (const delimiter of ['|', '-=-']) {
    test(`three messages in three pieces are three, wherever they are cut, delimiter ${delimiter}`, () => {
      const { Frames } = require('../../lib/node-ipc/frames');
      const texts = ['first wörld', '🌍', '--third='];
      const bytes = Buffer.from(texts.map((text) => text + delimiter).join(''));
      for (let first = 0; first <= bytes.length; first++) {
        for (let second = first; second <= bytes.length; second++) {
          const frames = new Frames(delimiter, 100);
          const found = [];
          for (const piece of [
            bytes.subarray(0, first),
            bytes.subarray(first, second),
            bytes.subarray(second),
          ]) {
            frames.add(piece);
            for (let text = frames.next(); text !== undefined; text = frames.next()) found.push(text);
          }
          assert.deepEqual(found, texts, `cut at ${first} and ${second}`);
          assert.equal(frames.pending, 0);
        }
      }
    });
  }

  test('a message of 20 MB arrives', async (t) => {
    const { server, client } = await pair(t, UNIX, OURS);
    const request = next(server, 'message');
    const text = 'ä€'.repeat(4_000_000);
    client.emit('message', text);
    const [data] = await request;
    assert.ok(data === text);
  });

  for (const [what, text] of Object.entries({
    'no JSON': '{"type":',
    nothing: '',
    'no object': '5',
    null: 'null',
    'no type': '{"data":1}',
    'a type that is none': '{"type":{"toString":1}}',
  })) {
    test(`${what} is an error of its connection, which goes on`, async (t) => {
      const { server, client, socket } = await plainClient(t);
      const failed = next(server, 'error');
      const request = next(server, 'message');
      client.write(`${text}\f{"type":"message","data":1}\f`);
      const [error, from] = /** @type {[Failure, any]} */ (await failed);
      assert.equal(error.code, 'ERR_CORRAL_BAD_MESSAGE');
      assert.equal(error.response, text);
      assert.equal(from, socket);
      assert.equal((await request)[0], 1);
    });
  }

  test('types and data with the names of what objects inherit are like any others', async (t) => {
    const { server, client } = await plainClient(t);
    for (const type of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
      const request = next(server, type);
      client.write(`{"type":"${type}","data":{"__proto__":{"polluted":1},"constructor":{"prototype":{}}}}\f`);
      const [data] = await request;
      assert.deepEqual(Object.keys(data), ['__proto__', 'constructor']);
    }
    assert.equal(/** @type {any} */ ({}).polluted, undefined);
    assert.equal(server.polluted, undefined);
  });

  test('an id that cannot be made text does no harm', async (t) => {
    const { server, client, socket } = await plainClient(t, { silent: false, logger: () => {} });
    const left = next(server, 'socket.disconnected');
    client.end('{"type":"hello","data":{"id":{"toString":1}}}\f');
    assert.deepEqual(await left, [socket, { toString: 1 }]);
    server.emit(socket, 'late');
    assert.equal((await next(server, 'error'))[0].code, 'ERR_STREAM_DESTROYED');
  });

  test('a message beyond config.maxMessageSize ends that connection of a server, and no other', async (t) => {
    const { server, client, socket } = await plainClient(t, { maxMessageSize: 100 });
    const arrived = next(server, 'connect');
    const other = net.connect(server.path);
    t.after(() => other.destroy());
    await arrived;
    const failed = next(server, 'error');
    const closed = once(client, 'close');
    client.on('error', () => {});
    client.write(`{"type":"message","data":1}\f${'x'.repeat(101)}`);
    const [error, from] = /** @type {[Failure, any]} */ (await failed);
    assert.equal(error.code, 'ERR_CORRAL_MESSAGE_TOO_LARGE');
    assert.equal(from, socket);
    await closed;
    const request = next(server, 'message');
    other.write('{"type":"message","data":2}\f');
    assert.equal((await request)[0], 2);
  });

  test('a message beyond config.maxMessageSize ends the connection of a client, which connects again', async (t) => {
    const { server, socket, client } = await plainServer(t, { maxMessageSize: 100 });
    const failed = next(client, 'error');
    const again = once(server, 'connection');
    socket.write('x'.repeat(200));
    assert.equal((await failed)[0].code, 'ERR_CORRAL_MESSAGE_TOO_LARGE');
    await again;
  });

  test('exactly config.maxMessageSize is not too large', async (t) => {
    const message = '{"type":"message","data":1}';
    const { server, client } = await plainClient(t, { maxMessageSize: message.length });
    const request = next(server, 'message');
    client.write(`${message}\f`);
    await request;
    const failed = next(server, 'error');
    client.on('error', () => {});
    client.write(`${message} \f`);
    assert.equal((await failed)[0].code, 'ERR_CORRAL_MESSAGE_TOO_LARGE');
  });
});

/**
 * Counts what is published in each turn of the event loop.
 *
 * @param {import('node:test').TestContext} t
 */
function turns(t) {
  let now = 0;
  const counts = { most: 0, turns: 0, add: () => {} };
  counts.add = () => {
    counts.most = Math.max(counts.most, ++now);
  };
  let isOver = false;
  const count = () => {
    now = 0;
    counts.turns++;
    if (!isOver) setImmediate(count);
  };
  setImmediate(count);
  t.after(() => {
    isOver = true;
  });
  return counts;
}

/** What one turn takes, and what two turns of the test's own counter may see of it. */
const MOST_PER_TURN = 2 * 256;

describe('floods', LIMIT, () => {
  test('1 MiB of delimiters is told in bulk, and others have their turns', async (t) => {
    const { server, client } = await plainClient(t);
    const counts = turns(t);
    let [told, all] = [0, 0];
    server.on('error', (/** @type {any} */ error) => {
      counts.add();
      assert.equal(error.code, 'ERR_CORRAL_BAD_MESSAGE');
      told++;
      all += error.count;
    });
    const behind = next(server, 'message');
    client.write(`${'\f'.repeat(1 << 20)}{"type":"message","data":1}\f`);
    await behind;
    assert.equal(all, 1 << 20);
    assert.ok(told < 10_000, `${told} errors`);
    assert.ok(counts.most <= MOST_PER_TURN, `${counts.most} in one turn`);
  });

  test('a peer that sends small messages leaves others their turns, and all of them come before its end', async (t) => {
    const { server, client } = await plainClient(t);
    const counts = turns(t);
    /** @type {number[]} */
    const received = [];
    server.on('message', (/** @type {number} */ data) => {
      counts.add();
      received.push(data);
    });
    const left = next(server, 'socket.disconnected');
    const numbers = Array.from({ length: 50_000 }, (_, index) => index);
    client.end(numbers.map((data) => `{"type":"message","data":${data}}\f`).join(''));
    await left;
    assert.deepEqual(received, numbers);
    assert.ok(counts.most <= MOST_PER_TURN, `${counts.most} in one turn`);
  });

  test('a client that is sent without end leaves others their turns', async (t) => {
    const { client, socket } = await plainServer(t);
    const counts = turns(t);
    let count = 0;
    client.on('message', () => {
      counts.add();
      count++;
    });
    const lost = next(client, 'disconnect');
    socket.end('{"type":"message"}\f'.repeat(50_000));
    await lost;
    assert.equal(count, 50_000);
    assert.ok(counts.most <= MOST_PER_TURN, `${counts.most} in one turn`);
  });

  test('who has destroyed a socket hears no more of what was there', async (t) => {
    const { server, client, socket } = await plainClient(t);
    let count = 0;
    server.on('message', () => {
      if (++count === 10) socket.destroy();
    });
    const left = next(server, 'socket.disconnected');
    client.on('error', () => {});
    client.write('{"type":"message"}\f'.repeat(50_000));
    await left;
    assert.equal(count, 10);
  });
});

test('an exception of a handler is the program’s, and loses no message', () => {
  const { StreamReceiver } = require('../../lib/node-ipc/receiving');
  const socket = new net.Socket();
  /** @type {string[]} */
  const received = [];
  new StreamReceiver(socket, new IPC().config, {
    bytes: assert.fail,
    error: assert.fail,
    message(type) {
      received.push(type);
      if (type === 'bad') throw new Error('on purpose');
    },
  });
  assert.throws(
    () => socket.emit('data', Buffer.from('{"type":"bad"}\f{"type":"good"}\f{"ty')),
    /on purpose/,
  );
  socket.emit('data', Buffer.from('pe":"more"}\f'));
  assert.deepEqual(received, ['bad', 'good', 'more']);
});
