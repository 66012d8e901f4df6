'use strict';
// Serialization: json advanced

// Messages both ways: what arrives, with which events; callbacks, return values and errors of send().

const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { cluster, run, SCRATCH } = require('../scenario.js');

/** Is there when a worker may read again. */
const SENT = path.join(SCRATCH, 'sent');

const ADVANCED = process.env.PARITY_SERIALIZATION === 'advanced';

/**
 * What Node's cluster says, and what two corrals say of the socket that their channel is on.
 *
 * @param {{ cmd: string }} message
 */
const isProtocol = ({ cmd }) => cmd === 'NODE_CLUSTER' || cmd === 'NODE_CORRAL_MOVE';

class Point {
  constructor() {
    this.x = 1;
  }

  get y() {
    return 2;
  }
}

/** What both serializations take, the one by changing some of it. */
function plainValues() {
  return [
    'text',
    '',
    'line\nbreaks\r\n\u2028 and \u{1F600}, \0, \\ and "',
    '\ud800 alone',
    0,
    -0,
    1.5,
    Number.MAX_SAFE_INTEGER,
    5e-324,
    NaN,
    Infinity,
    true,
    false,
    null,
    [],
    {},
    [1, 'two', null, undefined, [3]],
    { a: undefined, b: null, c: { d: [{}] }, '': 'empty', '\n': 'break' },
    { __proto__: null, a: 1 },
    JSON.parse('{"__proto__": {"polluted": true}, "constructor": 1}'),
    new Date(0),
    /reg(ex)p/gi,
    new Point(),
    Object.assign([1, 2], { extra: 3 }),
    // biome-ignore lint/suspicious/noSparseArray: a hole is one of the values
    [1, , 3],
    new String('boxed'),
    new Number(1),
    new Boolean(false),
    Buffer.from('buffer'),
    Buffer.alloc(0),
    new Uint8Array([1, 2, 3]),
    { cmd: 'ordinary' },
    { cmd: 'NODE_' },
    { cmd: 5 },
    { cmd: 'node_lower' },
    { act: 'newconn', key: 'x' },
    { ack: 1 },
    'x'.repeat(70_000),
    '\u00fc'.repeat(70_000),
    '\u4e2d'.repeat(40_000),
    Array.from({ length: 5000 }, (_, index) => ({ index })),
  ];
}

/** What only the advanced serialization takes. */
function structuredValues() {
  const shared = { shared: true };
  const circular = { name: 'circular' };
  circular.self = circular;
  return [
    new Map([
      ['a', 1],
      [{}, new Map()],
    ]),
    new Set(['a', { b: 1 }]),
    new Uint16Array([1, 2]),
    new Int32Array([-1]),
    new Float64Array([0.1, NaN, -0]),
    new BigInt64Array([1n, -(2n ** 63n)]),
    new Uint8ClampedArray([255]),
    new DataView(new ArrayBuffer(3), 1),
    new Uint8Array(new ArrayBuffer(8), 2, 3),
    new ArrayBuffer(2),
    { big: 2n ** 70n, negative: -1n, zero: 0n },
    new Error('an error'),
    Object.assign(new TypeError('with more'), { code: 'MORE' }),
    new RangeError('with a cause', { cause: 'the cause' }),
    new Date(NaN),
    Object(5n),
    { buffer: Buffer.from([0, 1, 2]), nested: [{ view: new Uint8Array([9]) }] },
  ].concat([[shared, shared].map((value) => ({ value }))]);
}

function allValues() {
  return ADVANCED ? [...plainValues(), ...structuredValues()] : plainValues();
}

/** Long ones would only make the trace long. @param {any} value */
function short(value) {
  if (typeof value === 'string' && value.length > 1000) return `${value.length} of ${value.slice(0, 3)}`;
  if (Array.isArray(value) && value.length > 1000)
    return `${value.length}, last ${JSON.stringify(value.at(-1))}`;
  if (value instanceof Error) return { name: value.name, text: value.message, ...value, cause: value.cause };
  return value;
}

/** @param {any} value */
function identities(value) {
  return value?.self === value && value !== undefined;
}

/** Messages that send() refuses, or takes although they look odd. */
function oddMessages() {
  // Not { toJSON: () => undefined }: it makes Node write a line that ends the process which reads it.
  return [undefined, () => {}, Symbol('s'), 1n, { toJSON: () => 'by toJSON' }];
}

/** Arguments beside the message that send() refuses. */
function oddArguments() {
  return [
    [{}],
    ['handle'],
    [1],
    [0],
    [null],
    [false],
    [undefined],
    [undefined, null],
    [undefined, 5],
    [undefined, 'options'],
    [undefined, undefined, 'callback'],
    [{ fd: 1 }],
    [process.stdout && new (require('node:events'))()],
  ];
}

/**
 * @param {any} t
 * @param {any} target
 * @param {unknown[]} args
 */
function trySend(t, target, args) {
  try {
    t.log('sent', args.slice(1), target.send(...args));
  } catch (error) {
    t.log('refused', args.slice(1), error);
  }
}

run({
  'to the worker': {
    async primary(t) {
      const worker = t.fork();
      await t.message(worker);
      for (const value of allValues()) worker.send(value);
      worker.send('end');
    },
    worker(t) {
      process.on('message', (message, handle) => {
        t.log('message', short(message), handle, identities(message));
        if (message === 'end') process.disconnect();
      });
      process.send('ready');
    },
  },
  'to the primary': {
    async primary(t) {
      const worker = t.fork({ quiet: true });
      worker.process.on('message', (message) => t.to('process')('message', short(message)));
      worker.on('message', function (...args) {
        const [message, handle] = args;
        t.to('worker')('message', short(message), handle, this === worker, args.length, identities(message));
      });
      const onMessage = function (...args) {
        const [from, message, handle] = args;
        t.to('cluster')('message', from === worker, short(message), handle, this === cluster, args.length);
      };
      cluster.on('message', onMessage);
      await once(worker, 'disconnect');
      cluster.off('message', onMessage);
    },
    worker() {
      for (const value of allValues()) process.send(value);
      process.send('end', () => process.disconnect());
    },
  },
  'through cluster.worker': {
    async primary(t) {
      const worker = t.fork();
      worker.send('first');
    },
    worker(t) {
      cluster.worker.on('message', function (...args) {
        const [message, handle] = args;
        t.log('message', message, handle, this === cluster.worker, args.length);
        t.log(
          'returned',
          cluster.worker.send({ echo: message }, () => cluster.worker.disconnect()),
        );
      });
    },
  },
  'cluster in the worker has no message event': {
    primary(t) {
      t.fork().send('first');
    },
    worker(t) {
      cluster.on('message', () => t.log('never'));
      process.on('message', (message) => {
        t.log('message', message, cluster.eventNames());
        process.disconnect();
      });
    },
  },
  circular: {
    async primary(t) {
      const worker = t.fork();
      await once(worker, 'online');
      const circular = { name: 'circular' };
      circular.self = circular;
      try {
        t.log('sent', worker.send(circular));
      } catch (error) {
        t.log('refused', error.name, error.message.split('\n')[0]);
      }
      worker.send('end');
    },
    worker(t) {
      process.on('message', (message) => {
        t.log('message', typeof message, identities(message));
        if (message === 'end') process.disconnect();
      });
    },
  },
  'not serializable': {
    async primary(t) {
      const worker = t.fork();
      await once(worker, 'online');
      for (const value of [
        { f() {} },
        { s: Symbol('x') },
        { big: 1n },
        { p: Promise.resolve() },
        new WeakMap(),
        {
          get bad() {
            throw new RangeError('thrown by a getter');
          },
        },
      ]) {
        try {
          t.log('sent', worker.send(value));
        } catch (error) {
          t.log('refused', error.name, error.message.split('\n')[0], error.code);
        }
      }
      worker.send('end');
    },
    worker(t) {
      process.on('message', (message) => {
        t.log('message', message);
        if (message === 'end') process.disconnect();
      });
    },
  },
  'odd messages from the primary': {
    async primary(t) {
      const worker = t.fork();
      await once(worker, 'online');
      for (const message of oddMessages()) trySend(t, worker, [message]);
      for (const args of oddArguments()) trySend(t, worker, ['with odd arguments', ...args]);
      worker.send('end');
    },
    worker(t) {
      process.on('message', (message, handle) => {
        t.log('message', message, handle);
        if (message === 'end') process.disconnect();
      });
    },
  },
  'odd messages from the worker': {
    worker(t) {
      for (const message of oddMessages()) trySend(t, process, [message]);
      for (const args of oddArguments()) trySend(t, process, ['with odd arguments', ...args]);
      process.send('end', () => process.disconnect());
    },
  },
  'send without arguments': {
    async primary(t) {
      const worker = t.fork();
      // Before it can have said anything.
      worker.process.kill();
      trySend(t, worker, []);
      trySend(t, worker, [undefined, undefined, () => t.log('never')]);
    },
  },
  callbacks: {
    async primary(t) {
      const worker = t.fork();
      await once(worker, 'online');
      worker.send('one', (...args) => t.log('one', args));
      worker.send('two', undefined, (...args) => t.log('two', args));
      worker.send('three', undefined, undefined, (...args) => t.log('three', args));
      worker.send('four', undefined, { swallowErrors: true }, (...args) => t.log('four', args));
      worker.send('five', null, {}, function (...args) {
        t.log('five', this === undefined || this === globalThis, args.length);
      });
      t.log('after five calls');
      await new Promise((resolve) => worker.send('last', resolve));
      worker.disconnect();
    },
    worker(t) {
      process.on('message', (message) => t.log('message', message));
    },
  },
  'callbacks in the worker': {
    async worker(t) {
      process.send('one', (...args) => t.log('one', args));
      process.send('two', undefined, undefined, (...args) => t.log('two', args));
      t.log('after two calls');
      await new Promise((resolve) => process.send('last', resolve));
      process.disconnect();
    },
  },
  'before anybody listens': {
    async primary(t) {
      const worker = t.fork();
      worker.send('one');
      worker.send({ two: 2 });
      worker.send('three');
    },
    worker(t) {
      t.log('listeners', process.listenerCount('message'));
      // The cluster worker itself listens and passes on, so nothing waits for us: what came before is gone.
      const listen = () => {
        process.on('message', (message) => t.log('late', message));
        cluster.worker.on('message', (message) => t.log('late, by cluster.worker', message));
        setImmediate(() => process.disconnect());
      };
      // Timers come before what can be read, and may be late themselves.
      setTimeout(() => setImmediate(() => setImmediate(listen)), 200);
    },
  },
  'the send result': {
    async primary(t) {
      const worker = t.fork();
      await t.message(worker);
      t.log('small', worker.send('small'));
      // The worker does not read now, so this fills the socket's buffer and then the queue.
      const results = [];
      for (let round = 0; round < 16; round++) results.push(worker.send('x'.repeat(1 << 17)));
      t.log('big', results.at(0), results.at(-1));
      fs.writeFileSync(SENT, '');
      worker.process.send('last', () => t.log('last sent'));
    },
    worker(t) {
      let count = 0;
      process.on('message', (message) => {
        count++;
        if (message === 'last') {
          t.log('messages', count);
          process.disconnect();
        }
      });
      process.send('ready', () => {
        while (!fs.existsSync(SENT));
      });
    },
  },
  'internal messages': {
    async primary(t) {
      const worker = t.fork();
      worker.process.on('internalMessage', (message) => {
        if (!isProtocol(message)) t.to('internal')('internalMessage', message);
      });
      worker.once('message', () => {
        worker.send({ cmd: 'NODE_FOO', x: 1 });
        worker.send({ cmd: 'NODE_CLUSTER', act: 'nonsense' });
        worker.send('end');
      });
    },
    worker(t) {
      process.on('internalMessage', (message) => {
        if (!isProtocol(message)) t.to('internal')('internalMessage', message);
      });
      process.on('message', (message) => {
        t.log('message', message);
        process.disconnect();
      });
      process.send({ cmd: 'NODE_FOO', y: [1] });
      process.send({ cmd: 'NODE_CLUSTER', act: 'nonsense' });
      process.send({ cmd: 'NODE_CLUSTER' });
      process.send('ready');
    },
  },
  'after disconnecting': {
    async primary(t) {
      const worker = t.fork();
      await once(worker, 'online');
      worker.process.disconnect();
      t.log('returned', worker.send('late'), worker.process.connected);
      const [error] = await once(worker, 'error');
      t.log('error', error);
      await new Promise((resolve) => {
        t.log(
          'returned',
          worker.send('late', (...args) => {
            t.log('callback', args);
            resolve(undefined);
          }),
        );
      });
      worker.process.once('error', (again) => t.log('process error', again));
      worker.process.disconnect();
      t.log('channel', worker.process.channel);
    },
  },
  'after disconnecting, in the worker': {
    worker(t) {
      cluster.worker.exitedAfterDisconnect = true;
      process.on('error', (error) => t.log('process error', error));
      cluster.worker.on('error', (error) => t.log('worker error', error));
      process.disconnect();
      t.log('returned', process.send('late'));
      process.send('late', (...args) => t.log('callback', args));
      process.send('late', undefined, { swallowErrors: true }, (...args) => t.log('callback', args));
      process.disconnect();
    },
  },
  'to a dead worker': {
    async primary(t) {
      const worker = t.fork();
      await once(worker, 'online');
      worker.process.kill('SIGKILL');
      await Promise.all([once(worker, 'exit'), once(worker, 'disconnect')]);
      const sent = new Promise((resolve) => {
        t.log(
          'returned',
          worker.send('late', (...args) => resolve(args)),
        );
      });
      t.log('callback', await sent);
    },
  },
  'many both ways keep their order': {
    async primary(t) {
      const worker = t.fork({ quiet: true });
      let next = 0;
      worker.on('message', (message) => {
        if (message !== next++) t.log('out of order', message);
        if (next === 2000) worker.send('end');
      });
      await once(worker, 'online');
      for (let index = 0; index < 2000; index++) worker.send(index);
      await once(worker, 'disconnect');
      t.log('echoed', next);
    },
    worker() {
      process.on('message', (message) => {
        if (message === 'end') process.disconnect();
        else process.send(message);
      });
    },
  },
});
