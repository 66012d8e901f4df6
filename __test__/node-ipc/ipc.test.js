'use strict';

// corral/node-ipc by itself: what both sides see. interop.test.js has the real package on one side.

const assert = require('node:assert/strict');
const { describe, test } = require('node:test');

const ipc = require('../../node-ipc');
const { LIMIT, OURS, TRANSPORTS, instance, next, pair, started } = require('../helpers/node-ipc');

const { IPC } = ipc;
const UNIX = TRANSPORTS['a Unix socket'];

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  describe(`over ${name}`, LIMIT, () => {
    test('a message is answered', async (t) => {
      const { server, client, socket } = await pair(t, transport, OURS);
      const request = next(server, 'message');
      client.emit('message', { text: 'hello', list: [1] });
      const [data, from] = await request;
      assert.deepEqual(data, { text: 'hello', list: [1] });
      assert.equal(from, socket);
      const answer = next(client, 'message');
      server.emit(from, 'message', `${data.text} world!`);
      assert.deepEqual(await answer, ['hello world!']);
    });

    test('raw buffers are the same bytes on the other side, whatever they are', async (t) => {
      const { server, client } = await pair(t, transport, { ...OURS, config: { rawBuffer: true } });
      const bytes = Buffer.from([0, 255, 0xc3, 12, 0x80]);
      for (const sent of [bytes, [...bytes]]) {
        const data = next(server, 'data');
        client.emit(sent);
        const [received, from] = await data;
        assert.deepEqual(received, bytes);
        const back = next(client, 'data');
        server.emit(from, sent);
        assert.deepEqual(await back, [bytes]);
      }
    });

    test('a broadcast reaches all', async (t) => {
      const { server, client, where } = await pair(t, transport, OURS);
      const other = instance(t, IPC, transport.clientConfig);
      const arrived = next(server, 'connect');
      transport.connect(other, where);
      await arrived;
      const both = [next(client, 'news'), next(other.of.world, 'news')];
      server.broadcast('news', 7);
      assert.deepEqual(await Promise.all(both), [[7], [7]]);
    });

    test("a client that leaves is gone from `sockets`, and 'socket.disconnected' has its id", async (t) => {
      const { server, client, connecting, socket } = await pair(t, transport, OURS);
      const request = next(server, 'hello');
      client.emit('hello', { id: 'me' });
      await request;
      assert.equal(socket.id, 'me');
      assert.deepEqual(server.sockets, [socket]);
      const left = next(server, 'socket.disconnected');
      const events = [next(client, 'disconnect'), next(client, 'destroy')];
      connecting.disconnect('world');
      assert.deepEqual(connecting.of, {});
      assert.deepEqual(await left, [socket, 'me']);
      assert.deepEqual(server.sockets, []);
      await Promise.all(events);
    });

    test('a client connects again when its server is back', async (t) => {
      const { serving, server, client, socket, where } = await pair(t, transport, OURS);
      const lost = next(client, 'disconnect');
      server.stop();
      socket.destroy();
      await lost;
      const back = next(client, 'connect');
      transport.serve(serving, where);
      await started(serving);
      await back;
      const request = next(serving.server, 'message');
      client.emit('message', 1);
      assert.equal((await request)[0], 1);
    });
  });
}

describe('events', LIMIT, () => {
  const events = () => new (require('../../lib/node-ipc/events').Events)();

  test("'*' hears of all, its handlers last", () => {
    /** @type {any[]} */
    const seen = [];
    const each = events()
      .on('*', (...args) => seen.push(['*', ...args]))
      .on('a', (...args) => seen.push(['a', ...args]));
    each.publish('a', 1, 2).trigger('b');
    assert.deepEqual(seen, [
      ['a', 1, 2],
      ['*', 'a', 1, 2],
      ['*', 'b'],
    ]);
  });

  test('off removes one handler, however often it is there, or all of a type', () => {
    let calls = 0;
    const first = () => calls++;
    const each = events()
      .on('a', first)
      .subscribe('a', first)
      .on('a', () => (calls += 10));
    each.off('a', first).publish('a');
    assert.equal(calls, 10);
    each.unSubscribe('a', '*').publish('a');
    assert.equal(calls, 10);
    each.off('nothing of the kind', first);
  });

  test('once is once, also when it publishes itself', () => {
    let calls = 0;
    const each = events();
    each.once('a', () => {
      calls++;
      each.publish('a');
    });
    each.on('*', () => {}, true);
    each.publish('a').publish('a');
    assert.equal(calls, 1);
  });

  test('a handler may remove another that is about to be called, and what is no handler is refused', () => {
    const each = events();
    /** @type {string[]} */
    const seen = [];
    const second = () => seen.push('second');
    each.on('a', () => each.off('a', second).on('a', () => seen.push('third')));
    each.on('a', second);
    each.publish('a');
    assert.deepEqual(seen, ['second']);
    assert.throws(() => each.on('a', /** @type {any} */ (undefined)), { code: 'ERR_INVALID_ARG_TYPE' });
    assert.throws(() => each.off('a', /** @type {any} */ (undefined)), { code: 'ERR_INVALID_ARG_TYPE' });
  });
});

describe('an instance', LIMIT, () => {
  test('is what the module is, and makes others', () => {
    assert.ok(ipc instanceof IPC);
    const other = new IPC();
    assert.notEqual(other.config, ipc.config);
    assert.deepEqual([other.of, other.server], [{}, false]);
    assert.equal(ipc.config.socketRoot + ipc.config.appspace, '/tmp/app.');
    assert.equal(ipc.config.delimiter, '\f');
  });

  test('has a delimiter of its own', async (t) => {
    const one = await pair(t, UNIX, { ...OURS, config: { delimiter: '\n' } });
    const other = await pair(t, UNIX, OURS);
    for (const { server, client } of [one, other]) {
      const request = next(server, 'message');
      client.emit('message', 'text');
      assert.equal((await request)[0], 'text');
    }
  });

  test('log makes one text of what it is given, unless config.silent', (t) => {
    /** @type {string[]} */
    const texts = [];
    const logging = instance(t, IPC, { silent: false, logInColor: false, logDepth: 0 });
    logging.config.logger = (/** @type {string} */ text) => texts.push(text);
    logging.log('a', undefined, 1, { b: { c: 1 } }, null);
    assert.deepEqual(texts, ['a  1 { b: [Object] } null']);
    logging.config.silent = true;
    logging.log('b');
    assert.equal(texts.length, 1);
  });

  test('arguments of serveNet and connectToNet may be left out', () => {
    const { netArguments } = require('../../lib/node-ipc/addresses');
    const config = { ...new IPC().config, networkPort: '8000' };
    const callback = () => {};
    const parsed = (/** @type {any[]} */ ...args) => {
      const { host, port, udp, callback: given } = netArguments(config, args);
      return [host, port, udp, given === callback];
    };
    assert.deepEqual(parsed(), ['127.0.0.1', 8000, undefined, false]);
    assert.deepEqual(parsed(callback), ['127.0.0.1', 8000, undefined, true]);
    assert.deepEqual(parsed('UDP4', callback), ['127.0.0.1', 8000, 'udp4', true]);
    assert.deepEqual(parsed('udp6'), ['::1', 8000, 'udp6', false]);
    assert.deepEqual(parsed(3435, 'udp4'), ['127.0.0.1', 3435, 'udp4', false]);
    assert.deepEqual(parsed('host', callback), ['host', 8000, undefined, true]);
    assert.deepEqual(parsed('::1', 3435, 'udp4', callback), ['127.0.0.1', 3435, 'udp4', true]);
    assert.deepEqual(parsed(undefined, '3435', false, callback), ['127.0.0.1', 3435, undefined, true]);
  });

  test('a path is a pipe on Windows', () => {
    const { systemPath } = require('../../lib/node-ipc/addresses');
    assert.equal(systemPath('/tmp/app.world', 'win32'), '\\\\.\\pipe\\tmp-app.world');
    assert.equal(systemPath('\\\\.\\pipe\\it', 'win32'), '\\\\.\\pipe\\it');
    assert.equal(systemPath('/tmp/app.world', 'linux'), '/tmp/app.world');
  });
});
