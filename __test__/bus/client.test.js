'use strict';

// What becomes of calls, listeners and connections when the engine, or the program, does what it rarely does.

const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const { EventEmitter, getEventListeners, once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const timers = require('node:timers/promises');
const { promisify } = require('node:util');
const v8 = require('node:v8');
const vm = require('node:vm');
const { connect } = require('../../bus');
const { open } = require('../../lib/bus/bus');
const { Client } = require('../../lib/bus/client');
const { FrameWriter } = require('../../lib/bus/frame-writer');
const { FrameCutter, FrameReader, HEAD, KIND, REPLY } = require('../../lib/bus/frames');
const { busOptions } = require('../../lib/bus/options');
const { backOff } = require('../../lib/bus/process');
const { addon } = require('../../lib/bus/serving');
const { Subscription } = require('../../lib/bus/subscription');
const { until, withCode } = require('./contract');
const { environment } = require('../helpers/programs');

/** Nothing takes nearly so long, in milliseconds. */
const LONG = 60_000;

/** @param {import('node:test').TestContext} t */
function scratch(t) {
  const directory = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'corral-bus-')));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  return directory;
}

/** @typedef {import('../../lib/bus/frames').FrameReader} Reader */
/** @typedef {(to: FrameWriter) => unknown} Fields */
/** @typedef {(kind: number, sequence: number, from: Reader, reply: (kind: number, sequence: number, fields?: Fields) => void) => void} Answer */

/**
 * An engine that says what a test has it say. It greets by itself.
 *
 * @param {import('node:test').TestContext} t
 * @param {Answer} answer
 */
async function scripted(t, answer) {
  const place = path.join(scratch(t), 'engine');
  /** @type {number[]} */
  const kinds = [];
  /** @type {Set<net.Socket>} */
  const sockets = new Set();
  /** @type {import('../../lib/bus/bus').Bus[]} */
  const buses = [];
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    const writer = new FrameWriter();
    const reply = (
      /** @type {number} */ kind,
      /** @type {number} */ sequence,
      /** @type {Fields} */ fields,
    ) => {
      const to = writer.begin(kind, sequence);
      fields?.(to);
      socket.write(to.end());
    };
    const cutter = new FrameCutter((from) => {
      const [kind, sequence] = [from.u8(), from.u64()];
      kinds.push(kind);
      if (kind === KIND.hello) reply(REPLY.welcome, 0, (to) => to.u32(1).text('scripted'));
      else answer(kind, sequence, from, reply);
      return true;
    });
    socket.on('data', (bytes) => cutter.push(bytes, bytes.length));
  });
  const listen = () => once(server.listen(`${place}.sock`), 'listening');
  async function stop() {
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  }
  await listen();
  // A bus that waits for nothing does not keep the process.
  const alive = setInterval(() => {}, LONG);
  t.after(async () => {
    clearInterval(alive);
    const closing = buses.map((bus) => bus.close({ timeout: 1 }));
    if (server.listening) await stop();
    await Promise.all(closing);
  });
  const engine = {
    open: async () => addon().connectFile(place),
    release() {},
    renounce() {},
  };
  async function bus(/** @type {object} */ options = {}) {
    const made = await open(engine, busOptions(options));
    buses.push(made);
    return made;
  }
  return { bus, kinds, listen, stop };
}

/** One message, of which nothing is said. @type {Fields} */
const oneMessage = (to) => {
  to.u32(1).u64(5).u32(1).u64(30_000).u8(0).text('').u8(0);
  const envelope = Buffer.concat([Buffer.alloc(9), Buffer.from([1, 0, 0x61, 0, 0, 0, 0]), Buffer.from('1')]);
  to.bytes(envelope);
};

test('an acknowledgement has its whole time, however long the function has run', async () => {
  // Long enough for an answer on a busy machine.
  const bus = await connect('', { timeout: 1_000 });
  const queue = bus.queue('late');
  await queue.send(1);
  const [end, errors] = [new AbortController(), /** @type {Error[]} */ ([])];
  const busy = () => {
    for (const start = performance.now(); performance.now() - start < 10; );
  };
  const onError = (/** @type {Error} */ error) => errors.push(error);
  const work = async () => {
    await timers.setTimeout(1_100);
    // When its answer has come, it is time for timers first.
    setImmediate(busy);
  };
  const done = queue.process(work, { signal: end.signal, onError });
  await queue.drain();
  end.abort();
  await done;
  await bus.close();
  assert.deepEqual(errors, []);
});

test('every call ends with its signal, and with its time', async (t) => {
  let isSilent = false;
  const { bus: make } = await scripted(t, (kind, sequence, _from, reply) => {
    if (!isSilent && kind === KIND.receive) reply(REPLY.messages, sequence, oneMessage);
  });
  const bus = await make();
  const [queue, list] = [bus.queue('jobs'), bus.list('list')];
  const [job] = await queue.receive();
  isSilent = true;
  /** @typedef {import('../../bus').WaitOptions} WaitOptions */
  /** @type {((options: WaitOptions) => Promise<unknown>)[]} */
  const calls = [
    (options) => bus.publish('news', 1, options),
    (options) => bus.subscribe('news', () => {}, options),
    (options) => bus.subscribe('news', options),
    (options) => bus.queues(options),
    (options) => bus.transaction((tx) => tx.publish('news', 1), options),
    (options) => queue.send(1, options),
    (options) => queue.receive(options),
    (options) => queue.receive({ wait: 1, ...options }),
    (options) => queue.ack(job, options),
    (options) => queue.nack(job, options),
    (options) => queue.extend(job, 1, options),
    (options) => job.ack(options),
    (options) => job.nack(options),
    (options) => job.extend(undefined, options),
    (options) => queue.peek(options),
    (options) => queue.stats(options),
    (options) => queue.purge(options),
    (options) => queue.drain(options),
    (options) => queue.delete(options),
    (options) => list.push(1, options),
    (options) => list.pop(options),
    (options) => list.length(options),
  ];
  for (const call of calls) {
    const end = new AbortController();
    const ends = assert.rejects(call({ signal: end.signal }), withCode('ABORT_ERR'), String(call));
    end.abort(new Error('enough'));
    await ends;
    await assert.rejects(call({ signal: end.signal }), withCode('ABORT_ERR'), String(call));
    const { signal } = new AbortController();
    await assert.rejects(call({ signal, timeout: 1 }), withCode('ERR_CORRAL_BUS_TIMEOUT'), String(call));
    // Nobody listens to what nobody waits for.
    assert.equal(getEventListeners(signal, 'abort').length, 0, String(call));
  }
});

test('a connection ends with its signal', async () => {
  const end = new AbortController();
  const engine = { open: () => new Promise(() => {}), release() {}, renounce() {} };
  const opening = open(/** @type {any} */ (engine), busOptions({ signal: end.signal }));
  end.abort();
  await assert.rejects(opening, withCode('ABORT_ERR'));
  const late = open(/** @type {any} */ (engine), busOptions({ connectTimeout: 1 }));
  await assert.rejects(late, withCode('ERR_CORRAL_BUS_UNAVAILABLE'));
});

test('a request that is larger than any engine takes is an error of its own', async () => {
  const bus = await connect('', { maxMessageSize: 64 << 20, serialization: 'advanced', timeout: LONG });
  const body = Buffer.alloc(34 << 20);
  let downs = 0;
  bus.on('down', () => {
    downs += 1;
    bus.close({ timeout: 1 });
  });
  const sent = bus.transaction((tx) => {
    tx.queue('large').send(body);
    tx.queue('large').send(body);
  });
  await assert.rejects(sent, withCode('ERR_CORRAL_BUS_TOO_LARGE'));
  assert.deepEqual([downs, bus.state, (await bus.queue('large').stats()).waiting], [0, 'up', 0]);
  await bus.close();
});

test('what a listener of the bus throws is an uncaught exception, and the bus goes on', async (t) => {
  const file = path.join(scratch(t), 'bus.db');
  const program = path.join(scratch(t), 'program.js');
  fs.writeFileSync(
    program,
    `const { connect } = require(${JSON.stringify(path.join(__dirname, '../../bus'))});
    const { stopServing } = require(${JSON.stringify(path.join(__dirname, '../../lib/bus/serving'))});
    process.on('uncaughtException', (error) => console.log(error.message));
    (async () => {
      const bus = await connect(${JSON.stringify(`file:${file}`)});
      for (const name of ['down', 'up', 'close']) {
        bus.on(name, () => {
          console.log(name);
          throw new Error('of ' + name);
        });
      }
      stopServing(${JSON.stringify(file)});
      await bus.queue('jobs').send(1);
      console.log((await bus.queue('jobs').stats()).waiting);
      await bus.close();
      console.log('over');
    })();`,
  );
  const options = { timeout: LONG, env: environment() };
  const { stdout } = await promisify(execFile)(process.execPath, [program], options);
  const lines = stdout.trim().split('\n');
  assert.deepEqual(
    lines.toSorted(),
    ['1', 'close', 'down', 'of close', 'of down', 'of up', 'over', 'up'].toSorted(),
  );
});

test('what an iterator has read takes no memory, also if it never catches up', async () => {
  v8.setFlagsFromString('--expose-gc');
  const gc = vm.runInNewContext('gc');
  const subscription = new Subscription(/** @type {any} */ ({}), 'news', 100, undefined);
  /** @type {any} */
  let subscriber;
  const client = {
    credit() {},
    unsubscribe() {},
    subscribe: async (/** @type {any} */ _, /** @type {any} */ one) => {
      subscriber = one;
    },
  };
  await subscription.open(/** @type {any} */ (client), () => {}, /** @type {any} */ ({}));
  const text = JSON.stringify('x'.repeat(64 << 10));
  const frame = new FrameWriter().begin(REPLY.event, 1).u64(0).text('news').long(text).end();
  const event = () => subscriber.onEvent(new FrameReader(frame, HEAD, frame.length));
  event();
  await new Promise(setImmediate);
  gc();
  const before = process.memoryUsage().arrayBuffers;
  const iterator = subscription[Symbol.asyncIterator]();
  for (let i = 0; i < 1_000; i += 1) {
    event();
    assert.equal((await iterator.next()).value.topic, 'news');
  }
  gc();
  const grown = process.memoryUsage().arrayBuffers - before;
  assert.ok(grown < 8 << 20, `${grown} bytes more`);
  await subscription.close();
});

test('whoever iterates beside another one ends with it', async () => {
  const bus = await connect();
  const subscription = await bus.subscribe('news');
  const nexts = [0, 1].map(() => subscription[Symbol.asyncIterator]().next());
  await new Promise(setImmediate);
  await bus.close();
  assert.deepEqual(
    (await Promise.all(nexts)).map(({ done }) => done),
    [true, true],
  );
});

test('a bus that is closed while its engine is away still carries out what was called', async (t) => {
  const {
    bus: make,
    kinds,
    listen,
    stop,
  } = await scripted(t, (_kind, sequence, _from, reply) => reply(REPLY.done, sequence));
  const bus = await make({ offline: { messages: 1 } });
  const down = once(bus, 'down');
  await stop();
  await down;
  const sent = bus.queue('jobs').send(1);
  const closed = bus.close({ timeout: LONG });
  await assert.rejects(bus.queue('jobs').send(2), withCode('ERR_CORRAL_BUS_CLOSED'));
  await listen();
  await sent;
  await closed;
  assert.deepEqual(kinds, [KIND.hello, KIND.hello, KIND.send, KIND.bye]);
});

test('a message that comes while the bus is being closed goes back unseen', async (t) => {
  const { bus: make, kinds } = await scripted(t, (kind, sequence, from, reply) => {
    if (kind === KIND.cancel) reply(REPLY.messages, from.u64(), oneMessage);
    else if (kind !== KIND.receive) reply(REPLY.done, sequence);
  });
  const bus = await make();
  const waiting = assert.rejects(
    bus.queue('jobs').receive({ wait: Number.POSITIVE_INFINITY }),
    withCode('ERR_CORRAL_BUS_CLOSED'),
  );
  await bus.close();
  await waiting;
  assert.deepEqual(kinds, [KIND.hello, KIND.receive, KIND.cancel, KIND.nack, KIND.bye]);
});

test('a failure that cannot be read is one all the same', async (t) => {
  const { bus: make } = await scripted(t, (kind, sequence, _from, reply) => {
    if (kind === KIND.receive) reply(REPLY.messages, sequence, oneMessage);
    else reply(REPLY.failed, sequence, (to) => to.text('ERR_X').u8(0xff));
  });
  const bus = await make();
  const [job] = await bus.queue('jobs').receive();
  await assert.rejects(job.ack({ timeout: 1_000 }), withCode('ERR_CORRAL_BUS_PROTOCOL'));
  assert.equal(bus.state, 'up');
});

test('of messages that are acknowledged together and are not all held, none is held afterwards', async () => {
  const bus = await connect();
  const queue = bus.queue('together');
  for (let i = 0; i < 3; i += 1) await queue.send(i);
  const jobs = await queue.receive({ count: 3 });
  await jobs[0].ack();
  await assert.rejects(queue.ack(jobs), withCode('ERR_CORRAL_BUS_NOT_HELD'));
  assert.equal((await queue.stats()).held, 0);
  assert.equal(/** @type {any} */ (queue).client.held.size, 0);
  await bus.close();
});

test('process goes on when the bound of what waits for the engine was reached', async (t) => {
  let isSent = false;
  const {
    bus: make,
    listen,
    stop,
  } = await scripted(t, (kind, sequence, _from, reply) => {
    if (kind === KIND.receive && isSent) return;
    if (kind === KIND.receive) reply(REPLY.messages, sequence, oneMessage);
    else reply(REPLY.done, sequence);
    isSent ||= kind === KIND.receive;
  });
  const bus = await make({ offline: { messages: 1 } });
  const end = new AbortController();
  const events = new EventEmitter();
  const [started, away] = [once(events, 'started'), once(events, 'away')];
  const work = async () => {
    events.emit('started');
    await away;
  };
  /** @type {string[]} */
  const codes = [];
  const onError = (/** @type {any} */ error) => codes.push(error.code);
  const done = bus.queue('jobs').process(work, { signal: end.signal, onError });
  await started;
  const down = once(bus, 'down');
  await stop();
  await down;
  const sent = bus.queue('other').send(1);
  events.emit('away');
  await until(async () => codes.length > 0);
  await listen();
  await sent;
  assert.deepEqual(codes, ['ERR_CORRAL_BUS_OFFLINE']);
  end.abort();
  await done;
});

test('a client that is given up while it connects is over once', async () => {
  let closes = 0;
  /** @type {(error: Error) => void} */
  let fail = () => {};
  const open = () =>
    new Promise((/** @type {(fd: number) => void} */ _resolve, reject) => {
      fail = reject;
    });
  const engine = { open, release() {}, renounce() {} };
  const client = new Client(engine, busOptions({}));
  client.on('close', () => {
    closes += 1;
  });
  client.start();
  client.abort();
  fail(new Error('too late'));
  await new Promise(setImmediate);
  assert.equal(closes, 1);
});

test('a transaction that is over takes nothing more', async () => {
  const bus = await connect();
  /** @type {any} */
  let late;
  await bus.transaction((tx) => {
    late = tx;
  });
  const calls = [
    () => late.queue('jobs').send(1),
    () => late.list('list').push(1),
    () => late.publish('news', 1),
  ];
  for (const call of calls) assert.throws(call, { code: 'ERR_INVALID_STATE' });
  await bus.close();
});

test('a retry at once stays one, however often it has failed', () => {
  const retry = { delay: 0, factor: 2, maxDelay: 60_000, jitter: 0.5 };
  assert.deepEqual(
    [1, 2, 5_000].map((failures) => backOff(retry, failures)),
    [0, 0, 0],
  );
  assert.equal(backOff({ ...retry, delay: 1, jitter: 0 }, 5_000), 60_000);
});
