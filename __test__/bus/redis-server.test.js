'use strict';

// What is the server's: it ends and comes back, refuses, has keys of other programs, and other programs use it too.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const net = require('node:net');
const path = require('node:path');
const { after, describe, test } = require('node:test');
const { connect } = require('../../bus');
const { environment } = require('../helpers/programs');
const { freePort } = require('../../scripts/lib-free-port');
const { RedisServer, command } = require('../helpers/redis');
const { until, withCode } = require('./contract');

/** @typedef {import('node:test').TestContext} TestContext */
/** @typedef {import('../../bus').Bus} Bus */

const LONG = 60_000;

// A bus with nothing to wait for keeps no process, and a server that is being ended does not, either.
const alive = setInterval(() => {}, LONG);
after(() => clearInterval(alive));

/** @param {TestContext} t @param {Record<string, string>} [settings] */
async function serverOf(t, settings) {
  const server = new RedisServer(settings);
  t.after(() => server.remove());
  return server.start();
}

/** @param {TestContext} t @param {string} url @param {import('../../bus').ConnectOptions} [options] @returns {Promise<Bus>} */
async function busOf(t, url, options) {
  const bus = await connect(url, options);
  t.after(() => bus.close({ timeout: 100 }));
  return bus;
}

/** A server in front of another one, that passes on what comes until it is told otherwise. @param {TestContext} t @param {RedisServer} server */
async function proxyOf(t, server) {
  /** @type {Set<net.Socket>} */
  const sockets = new Set();
  /** @type {Set<net.Socket>} */
  const clients = new Set();
  /** @type {Set<net.Socket>} */
  const silent = new Set();
  const state = {
    url: '',
    cuts: false,
    cut: 0,
    of: /EVAL/,
    connected: () => clients.size,
    /** One of those that are connected hears nothing any more. @param {number} which @returns {() => void} ends its connection */
    silence: (which) => {
      const client = /** @type {net.Socket} */ ([...clients][which % clients.size]);
      silent.add(client);
      return () => client.destroy();
    },
  };
  const proxy = net.createServer((client) => {
    const upstream = net.connect(server.socket);
    let asked = '';
    clients.add(client);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        clients.delete(client);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on('data', (chunk) => {
      asked = chunk.toString('latin1');
      upstream.write(chunk);
    });
    upstream.on('data', (chunk) => {
      // The server has carried it out, and its answer is lost.
      if (state.cuts && state.of.test(asked)) {
        state.cuts = false;
        state.cut += 1;
        client.destroy();
      } else if (!silent.has(client)) {
        client.write(chunk);
      }
    });
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  state.url = `redis://127.0.0.1:${/** @type {net.AddressInfo} */ (proxy.address()).port}`;
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  return state;
}

describe('the server ends', () => {
  test('all that was acknowledged is there when it was killed, and nothing is done twice', async (t) => {
    const server = await serverOf(t, { appendonly: 'yes', appendfsync: 'always' });
    const [producer, consumer] = [await busOf(t, server.url), await busOf(t, server.url)];
    /** @type {Map<number, number>} */
    const seen = new Map();
    const controller = new AbortController();
    const done = consumer.queue('jobs').process(
      ({ message }) => {
        seen.set(message, (seen.get(message) ?? 0) + 1);
      },
      { concurrency: 10, signal: controller.signal },
    );
    let count = 0;
    for (let kill = 0; kill < 3; kill += 1) {
      const sends = [];
      for (let i = 0; i < 300; i += 1) {
        sends.push(producer.queue('jobs').send(count++));
        if (i % 20 === 0) await sends.at(-1);
        if (i === 150) {
          await server.stop('SIGKILL');
          await server.start();
        }
      }
      await Promise.all(sends);
    }
    await until(async () => seen.size === count);
    await producer.queue('jobs').drain();
    controller.abort();
    await done;
    assert.deepEqual(
      [...seen].filter(([, times]) => times !== 1),
      [],
    );
  });

  test('what is sent meanwhile waits within a bound, and comes in its order', async (t) => {
    const server = await serverOf(t);
    const bus = await busOf(t, server.url, { offline: { messages: 3 } });
    const queue = bus.queue('jobs');
    await queue.send('before');
    const down = once(bus, 'down');
    await server.stop();
    const [error] = await down;
    assert.equal(error.code, 'ERR_CORRAL_BUS_UNAVAILABLE');
    assert.equal(bus.state, 'down');
    const sent = [1, 2, 3].map((message) => queue.send(message));
    await assert.rejects(queue.send(4), withCode('ERR_CORRAL_BUS_OFFLINE'));
    const up = once(bus, 'up');
    await server.start();
    await up;
    await Promise.all(sent);
    assert.deepEqual(
      (await queue.receive({ count: 10 })).map(({ message }) => message),
      [1, 2, 3],
    );
  });

  test('who waits and who has subscribed go on when it is back', async (t) => {
    const server = await serverOf(t);
    const [bus, other] = [await busOf(t, server.url), await busOf(t, server.url)];
    /** @type {unknown[]} */
    const heard = [];
    await bus.subscribe('news', (message) => heard.push(message));
    await bus.subscribe('n?ws', (message) => heard.push(message));
    const waiting = bus.queue('jobs').receive({ wait: LONG });
    const popping = bus.list('plain').pop({ wait: LONG });
    await until(async () => (await bus.queue('jobs').stats()).receivers === 1);
    const ups = Promise.all([once(bus, 'up'), once(other, 'up')]);
    await server.stop();
    await server.start();
    await ups;
    await other.queue('jobs').send('work');
    await other.list('plain').push('value');
    assert.equal((await waiting)[0].message, 'work');
    assert.equal(await popping, 'value');
    assert.equal(await other.publish('news', 'again'), 2);
    await until(async () => heard.length === 2);
  });

  test('who comes while it is away gets a clear error, or the server', async (t) => {
    const server = new RedisServer();
    t.after(() => server.remove());
    const gone = connect(server.url, { connectTimeout: 50 });
    await assert.rejects(gone, withCode('ERR_CORRAL_BUS_UNAVAILABLE'));
    const coming = busOf(t, server.url);
    await server.start();
    assert.equal((await coming).state, 'up');
  });
});

describe('an answer is lost', () => {
  test('a message is not sent twice', async (t) => {
    const server = await serverOf(t);
    const proxy = await proxyOf(t, server);
    const bus = await busOf(t, proxy.url);
    const queue = bus.queue('jobs');
    await queue.send('first');
    proxy.cuts = true;
    await queue.send('second');
    assert.equal(proxy.cut, 1);
    assert.deepEqual(await queue.stats(), { waiting: 2, delayed: 0, held: 0, receivers: 0 });
  });

  test('what was received, popped or looked at comes all the same, once', async (t) => {
    const server = await serverOf(t);
    const proxy = await proxyOf(t, server);
    const bus = await busOf(t, proxy.url);
    const queue = bus.queue('jobs');
    for (const message of ['a', 'b']) await queue.send(message);
    for (const value of [1, 2]) await bus.list('plain').push(value);
    const lossy = async (/** @type {() => Promise<any>} */ call) => {
      proxy.cuts = true;
      return call();
    };
    assert.deepEqual((await lossy(() => queue.peek())).length, 2);
    const [job] = await lossy(() => queue.receive());
    assert.deepEqual([job.message, job.deliveries], ['a', 1]);
    await lossy(() => job.ack());
    assert.deepEqual(await lossy(() => bus.list('plain').pop()), 1);
    assert.deepEqual(await lossy(() => bus.list('plain').pop()), 2);
    assert.deepEqual(await queue.stats(), { waiting: 1, delayed: 0, held: 0, receivers: 0 });
    assert.equal(proxy.cut, 5);
  });

  // Of more than a few the session asks for the envelopes itself.
  test('many that were received come all the same, once, whichever answer is lost', async (t) => {
    const server = await serverOf(t);
    const proxy = await proxyOf(t, server);
    const bus = await busOf(t, proxy.url);
    const queue = bus.queue('jobs');
    const sent = Array.from({ length: 20 }, (_, i) => i);
    for (const of of [/EVAL/, /HMGET/]) {
      await Promise.all(sent.map((message) => queue.send(message)));
      Object.assign(proxy, { cuts: true, of });
      const jobs = await queue.receive({ count: 50 });
      assert.deepEqual(
        jobs.map(({ message, deliveries }) => [message, deliveries]),
        sent.map((message) => [message, 1]),
      );
      assert.equal(proxy.cuts, false);
      await queue.ack(jobs);
    }
    assert.equal(proxy.cut, 2);
    assert.deepEqual(await queue.stats(), { waiting: 0, delayed: 0, held: 0, receivers: 0 });
  });

  test('what was handed to who waits comes all the same, once, if the news of it is lost', async (t) => {
    const server = await serverOf(t);
    const proxy = await proxyOf(t, server);
    const [bus, producer] = [await busOf(t, proxy.url), await busOf(t, server.url)];
    const queue = bus.queue('jobs');
    const waiting = queue.receive({ wait: LONG });
    await until(async () => (await producer.queue('jobs').stats()).receivers === 1);
    Object.assign(proxy, { cuts: true, of: /SUBSCRIBE/ });
    await producer.queue('jobs').send('work');
    const [job] = await waiting;
    assert.deepEqual([job.message, job.deliveries, proxy.cut], ['work', 1, 1]);
    await job.ack();
    assert.deepEqual(await queue.stats(), { waiting: 0, delayed: 0, held: 0, receivers: 0 });
  });

  test('what was handed to who waits no more goes back, once, if the news of it is lost', async (t) => {
    const server = await serverOf(t);
    const proxy = await proxyOf(t, server);
    const [bus, producer] = [await busOf(t, proxy.url), await busOf(t, server.url)];
    const waiting = bus.queue('jobs').receive({ wait: LONG, signal: AbortSignal.timeout(LONG) });
    const controller = new AbortController();
    const other = bus.queue('jobs').receive({ wait: LONG, signal: controller.signal });
    const counts = () => producer.queue('jobs').stats();
    await until(async () => (await counts()).receivers === 2);
    // The first is handed its message; of the second the news is lost, and then nobody wants it.
    await producer.queue('jobs').send('first');
    assert.equal((await waiting)[0].message, 'first');
    bus.once('down', () => controller.abort());
    Object.assign(proxy, { cuts: true, of: /SUBSCRIBE/ });
    await producer.queue('jobs').send('second');
    await assert.rejects(other, withCode('ABORT_ERR'));
    const [job] = await producer.queue('jobs').receive({ wait: LONG });
    assert.deepEqual([job.message, job.deliveries, proxy.cut], ['second', 1, 1]);
    assert.deepEqual(await counts(), { waiting: 0, delayed: 0, held: 2, receivers: 0 });
  });

  test('whichever connection is lost, and when: each message comes once', async (t) => {
    const server = await serverOf(t);
    const proxy = await proxyOf(t, server);
    const producer = await busOf(t, server.url);
    const consumers = [await busOf(t, proxy.url), await busOf(t, proxy.url)];
    /** @type {Map<number, number>} */
    const seen = new Map();
    /** @type {unknown[]} */
    const odd = [];
    const controller = new AbortController();
    const done = consumers.map((bus) =>
      bus.queue('jobs').process(
        ({ message, deliveries }) => {
          seen.set(message, (seen.get(message) ?? 0) + 1);
          if (deliveries !== 1) odd.push([message, deliveries]);
        },
        { concurrency: 2, signal: controller.signal, onError: (error) => odd.push(error) },
      ),
    );
    let count = 0;
    for (let round = 0; round < 100; round += 1) {
      const isLossy = round % 3 === 0;
      // Each has two connections.
      if (isLossy) await until(async () => proxy.connected() === 4);
      // What comes meanwhile is lost with the connection.
      const end = isLossy ? proxy.silence(7 * round) : () => {};
      for (let i = 0; i <= round % 4; i += 1) await producer.queue('jobs').send(count++);
      end();
    }
    await until(async () => seen.size === count);
    await producer.queue('jobs').drain();
    controller.abort();
    await Promise.all(done);
    assert.deepEqual([odd, [...seen.values()].filter((times) => times !== 1)], [[], []]);
  });

  test('a script that the server has forgotten is told again', async (t) => {
    const server = await serverOf(t);
    const bus = await busOf(t, server.url);
    await bus.queue('jobs').send(1);
    await command(server, 'SCRIPT', 'FLUSH');
    await bus.queue('jobs').send(2);
    assert.equal((await bus.queue('jobs').stats()).waiting, 2);
  });
});

describe('a consumer dies', () => {
  test('its messages come back after the visibility time, also if nobody asks in that queue', async (t) => {
    const server = await serverOf(t);
    const bus = await busOf(t, server.url);
    await bus.queue('jobs', { visibility: 300, maxDeliveries: 1 }).send('work');
    const program = `require('./bus').connect(process.argv[1]).then(async (bus) => {
      await bus.queue('jobs').receive();
      process.kill(process.pid, 'SIGKILL');
    })`;
    const child = spawn(process.execPath, ['-e', program, server.url], {
      cwd: path.join(__dirname, '../..'),
      env: environment(),
    });
    await once(child, 'exit');
    const [dead] = await bus.queue('jobs.dead').receive({ wait: LONG });
    assert.deepEqual([dead.message, dead.dead?.reason], ['work', 'expired']);
  });
});

test('who waits is sent a message with the news of it', async (t) => {
  const server = await serverOf(t);
  const [bus, producer] = [await busOf(t, server.url), await busOf(t, server.url)];
  const waiting = [1, 2].map(() => bus.queue('jobs').receive({ wait: LONG }));
  await until(async () => (await producer.queue('jobs').stats()).receivers === 2);
  await command(server, 'CONFIG', 'RESETSTAT');
  for (const message of ['first', 'second']) await producer.queue('jobs').send(message);
  const jobs = (await Promise.all(waiting)).flat();
  assert.deepEqual(
    jobs.map(({ message, deliveries }) => [message, deliveries]),
    [
      ['first', 1],
      ['second', 1],
    ],
  );
  // Each was sent, and nobody has asked.
  assert.match(await command(server, 'INFO', 'commandstats'), /cmdstat_evalsha:calls=2,/);
  await bus.queue('jobs').ack(jobs);
  assert.deepEqual(await bus.queue('jobs').stats(), { waiting: 0, delayed: 0, held: 0, receivers: 0 });
});

test('many that are received at once are in keys that are made for many', async (t) => {
  const server = await serverOf(t);
  const queue = (await busOf(t, server.url)).queue('jobs');
  await Promise.all(Array.from({ length: 100 }, (_, i) => queue.send(i)));
  const jobs = await queue.receive({ count: 100 });
  const answers = async (/** @type {string[]} */ ...words) => (await command(server, ...words)).trim();
  assert.match(await answers('OBJECT', 'ENCODING', '{corral}:h:jobs'), /skiplist/);
  assert.equal(await answers('ZCARD', '{corral}:h:jobs'), ':100');
  assert.equal(await answers('HLEN', '{corral}:s:jobs'), ':100');
  await queue.ack(jobs);
  assert.equal(await answers('EXISTS', '{corral}:h:jobs', '{corral}:s:jobs'), ':0');
});

test('what is published to who does not read is bounded by its bytes, too', async (t) => {
  const server = await serverOf(t);
  const bus = await busOf(t, server.url);
  const [count, mebibyte] = [400, 1 << 20];
  const program = `
    const fs = require('node:fs');
    require('./bus').connect(process.argv[1], { maxMessageSize: ${2 * mebibyte} }).then(async (bus) => {
      let received = 0;
      const subscription = await bus.subscribe('news', (message) => {
        received += 1;
        if (message.number !== ${count - 1}) return;
        const peak = Number(/VmHWM:\\s+(\\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]);
        fs.writeSync(1, JSON.stringify({ received, dropped: subscription.dropped, peak }));
        bus.close();
      }, { buffer: 10_000 });
      fs.writeSync(1, 'ready');
      fs.readSync(0, Buffer.alloc(1));
    })`;
  const child = spawn(process.execPath, ['-e', program, server.url], {
    cwd: path.join(__dirname, '../..'),
    env: environment(),
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  const large = 'x'.repeat(mebibyte - 100);
  for (let number = 0; number < count; number += 1) await bus.publish('news', { number, large });
  const told = once(child.stdout, 'data');
  child.stdin.end('x');
  const { received, dropped, peak } = JSON.parse(String((await told)[0]));
  assert.equal(received + dropped, count);
  assert.ok(dropped > 0 && peak < 300 * 1024, `${dropped} dropped, ${peak} KiB`);
});

test('what is due behind something else comes in its time, and not five seconds later', async (t) => {
  const server = await serverOf(t);
  const queue = (await busOf(t, server.url)).queue('jobs');
  for (const delay of [600, 200, 400]) await queue.send(delay, { delay });
  const seen = [];
  // For less than it takes until a session looks although it knows of nothing.
  for (let i = 0; i < 3; i += 1) seen.push(...(await queue.receive({ wait: 4_000 })));
  // Who is late for the first finds several.
  assert.deepEqual(seen.map(({ message }) => message).sort(), [200, 400, 600]);
});

describe('the server refuses', () => {
  test('a wrong password, a wrong user', async (t) => {
    const server = await serverOf(t, { requirepass: 'right' });
    for (const query of ['', '?pass=wrong', '?user=nobody&pass=right']) {
      await assert.rejects(connect(server.url + query), withCode('ERR_CORRAL_BUS_DENIED'));
    }
    const bus = await busOf(t, `${server.url}?pass=right`);
    await bus.queue('jobs').send('works');
  });

  test('a user that may not do all of it', async (t) => {
    const server = await serverOf(t);
    await command(server, 'ACL', 'SETUSER', 'limited', 'on', '>pw', '~*', '&*', '+@all', '-rpush');
    const bus = await busOf(t, `${server.url}?user=limited&pass=pw`);
    await assert.rejects(bus.queue('jobs').send(1), withCode('ERR_CORRAL_BUS_DENIED'));
    assert.deepEqual(await bus.queue('jobs').stats(), { waiting: 0, delayed: 0, held: 0, receivers: 0 });
    assert.equal(await bus.publish('news', 1), 0);
  });

  test('a transaction with something that a user may not do, of which nothing happens', async (t) => {
    const server = await serverOf(t);
    const rights = ['resetchannels', '&{corral}*', '+@all', '-lpush'];
    await command(server, 'ACL', 'SETUSER', 'limited', 'on', '>pw', '~*', ...rights);
    const bus = await busOf(t, `${server.url}?user=limited&pass=pw`);
    const [jobs, others] = [bus.queue('jobs'), bus.queue('others')];
    await jobs.send('before');
    const [job] = await jobs.receive();
    /** @type {((tx: any) => void)[]} */
    const refused = [(tx) => tx.publish('news', 1)];
    // Redis 6 tells a script nothing of rights (docs/bus.md).
    const version = await command(server, 'INFO', 'server');
    if (!/redis_version:6\./.test(version)) refused.push((tx) => tx.list('plain').push(1));
    for (const last of refused) {
      const transaction = bus.transaction((tx) => {
        tx.ack(job);
        tx.queue('others').send('after');
        last(tx);
      });
      await assert.rejects(transaction, withCode('ERR_CORRAL_BUS_DENIED'));
      assert.deepEqual([(await jobs.stats()).held, (await others.stats()).waiting], [1, 0]);
    }
  });

  test('a transaction with a queue whose key is of another type, of which nothing happens', async (t) => {
    const server = await serverOf(t);
    const bus = await busOf(t, server.url);
    await bus.queue('jobs').send('before');
    const [job] = await bus.queue('jobs').receive();
    for (const key of ['l', 'b', 's', 'w', 'd']) {
      await command(server, 'SET', `{corral}:${key}:last`, 'text');
      const transaction = bus.transaction((tx) => {
        tx.ack(job);
        tx.queue('others').send('after');
        tx.queue('last').send('after', {
          delay: key === 'd' ? LONG : 0,
          priority: key === 's' || key === 'w' ? 1 : 0,
        });
      });
      await assert.rejects(transaction, withCode('ERR_CORRAL_BUS_WRONG_TYPE'), key);
      await command(server, 'DEL', `{corral}:${key}:last`);
    }
    const counts = async (/** @type {string} */ name) => bus.queue(name).stats();
    assert.deepEqual([(await counts('jobs')).held, (await counts('others')).waiting], [1, 0]);
  });

  test('a message whose id is not known afterwards', async (t) => {
    const server = await serverOf(t);
    const bus = await busOf(t, server.url);
    const queue = bus.queue('jobs');
    await command(server, 'SET', '{corral}:l:jobs', 'text');
    const once = () => queue.send('once', { id: 'first' });
    await assert.rejects(once(), withCode('ERR_CORRAL_BUS_WRONG_TYPE'));
    await command(server, 'DEL', '{corral}:l:jobs');
    await once();
    await once();
    assert.deepEqual(
      (await queue.receive({ count: 3 })).map(({ message }) => message),
      ['once'],
    );
  });

  test('a key of another type', async (t) => {
    const server = await serverOf(t);
    const bus = await busOf(t, server.url);
    const wrong = withCode('ERR_CORRAL_BUS_WRONG_TYPE');
    await command(server, 'SET', 'plain', 'text');
    await assert.rejects(bus.list('plain').push(1), wrong);
    await assert.rejects(bus.list('plain').pop(), wrong);
    await assert.rejects(bus.list('plain').pop({ wait: LONG }), wrong);
    await command(server, 'SET', '{corral}:l:jobs', 'text');
    await assert.rejects(bus.queue('jobs').send(1), wrong);
    await bus.queue('others').send('before');
    const [job] = await bus.queue('others').receive();
    const transaction = bus.transaction((tx) => {
      tx.ack(job);
      tx.list('plain').push(1);
    });
    await assert.rejects(transaction, wrong);
    assert.equal((await bus.queue('others').stats()).held, 1, 'nothing of it has happened');
    await command(server, 'DEL', '{corral}:l:jobs');
    assert.deepEqual(await bus.queue('jobs').stats(), { waiting: 0, delayed: 0, held: 0, receivers: 0 });
  });

  test('what was about to be received, and it waits still', async (t) => {
    const server = await serverOf(t);
    const bus = await busOf(t, server.url);
    const queue = bus.queue('jobs');
    for (const message of ['first', 'second']) await queue.send(message);
    for (const key of ['{corral}:h:jobs', '{corral}:s:jobs']) {
      await command(server, 'SET', key, 'text');
      await assert.rejects(queue.receive({ count: 2 }), withCode('ERR_CORRAL_BUS_WRONG_TYPE'));
      await command(server, 'DEL', key);
    }
    const jobs = await queue.receive({ count: 2 });
    assert.deepEqual(
      jobs.map(({ message, deliveries }) => [message, deliveries]),
      [
        ['first', 1],
        ['second', 1],
      ],
    );
  });

  test('what has options and was about to be received, and it waits still', async (t) => {
    const server = await serverOf(t);
    const queue = (await busOf(t, server.url)).queue('jobs');
    await queue.send('first', { priority: 2 });
    await queue.send('second', { group: 'one' });
    for (const key of ['h', 'f']) {
      await command(server, 'SET', `{corral}:${key}:jobs`, 'text');
      await assert.rejects(queue.receive({ count: 2 }), withCode('ERR_CORRAL_BUS_WRONG_TYPE'));
      await command(server, 'DEL', `{corral}:${key}:jobs`);
    }
    const jobs = await queue.receive({ count: 2 });
    assert.deepEqual(
      jobs.map(({ message, deliveries }) => [message, deliveries]),
      [
        ['first', 1],
        ['second', 1],
      ],
    );
  });

  test('messages when its memory is full, but not acknowledgements', async (t) => {
    const server = await serverOf(t);
    const bus = await busOf(t, server.url);
    const queue = bus.queue('jobs');
    await queue.send('work');
    const [job] = await queue.receive();
    await command(server, 'CONFIG', 'SET', 'maxmemory', '1');
    await assert.rejects(queue.send('more'), withCode('ERR_CORRAL_BUS_STORE'));
    await job.ack();
    await command(server, 'CONFIG', 'SET', 'maxmemory', '0');
    await queue.send('more');
    assert.deepEqual(await queue.stats(), { waiting: 1, delayed: 0, held: 0, receivers: 0 });
  });

  test('URLs that say nothing', async () => {
    for (const url of [
      'redis://localhost/?prefix=',
      'redis://localhost/?prefix={a}',
      'redis://localhost/?cluster=perhaps',
      'redis://localhost/?nodes=a',
      'redis://localhost/?cert=/dev/null',
      'redis://localhost/x',
      'http://localhost',
    ]) {
      await assert.rejects(connect(url, { connectTimeout: 1_000 }), withCode('ERR_INVALID_ARG_VALUE'), url);
    }
    await assert.rejects(connect('rediss://localhost/?ca=/none'), withCode('ENOENT'));
  });
});

describe('other programs', () => {
  test('a list is shared with who knows nothing of us', async (t) => {
    const server = await serverOf(t);
    const bus = await busOf(t, server.url);
    const list = bus.list('plain');
    await list.push({ a: 1 });
    assert.match(await command(server, 'BRPOP', 'plain', '1'), /\{"a":1\}/);
    const waiting = list.pop({ wait: LONG });
    await command(server, 'LPUSH', 'plain', '"theirs"');
    assert.equal(await waiting, 'theirs');
    await command(server, 'LPUSH', 'plain', 'error');
    await assert.rejects(list.pop(), withCode('ERR_CORRAL_BUS_UNREADABLE'));
    assert.equal(await list.pop(), undefined);
  });

  test('topics are channels, with JSON', async (t) => {
    const server = await serverOf(t);
    const bus = await busOf(t, server.url);
    const subscription = await bus.subscribe('news');
    /** @type {any[]} */
    const unreadable = [];
    bus.on('unreadable', (...told) => unreadable.push(told));
    await command(server, 'PUBLISH', 'news', 'no JSON');
    await command(server, 'PUBLISH', 'news', '{"a":1}');
    for await (const { message } of subscription) {
      assert.deepEqual(message, { a: 1 });
      break;
    }
    assert.deepEqual([unreadable.length, unreadable[0][1], String(unreadable[0][2])], [1, 'news', 'no JSON']);
    const theirs = net.connect(server.socket).setEncoding('utf8');
    t.after(() => theirs.destroy());
    theirs.write('SUBSCRIBE news\r\n');
    await once(theirs, 'data');
    const got = once(theirs, 'data');
    await bus.publish('news', { b: 2 });
    assert.match((await got)[0], /\{"b":2\}/);
  });

  test('prefixes and databases are apart', async (t) => {
    const server = await serverOf(t);
    const buses = [];
    for (const query of ['', '?prefix=shop', '?db=1']) buses.push(await busOf(t, server.url + query));
    await buses[0].queue('jobs').send('first');
    const waiting = await Promise.all(buses.map(async (bus) => (await bus.queue('jobs').stats()).waiting));
    assert.deepEqual(waiting, [1, 0, 0]);
    assert.match(await command(server, 'KEYS', '*'), /\{corral\}:b:jobs/);
  });

  test('TCP, with a user and a database in the URL', async (t) => {
    const port = await freePort();
    const server = await serverOf(t, { port: `${port}`, bind: '127.0.0.1' });
    await command(server, 'ACL', 'SETUSER', 'me', 'on', '>p@ss', '~*', '&*', '+@all');
    const bus = await busOf(t, `valkey://me:p%40ss@127.0.0.1:${port}/2`);
    await bus.queue('jobs').send('works');
    assert.match(await command(server, 'INFO', 'keyspace'), /db2:keys=/);
  });
});
