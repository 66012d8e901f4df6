'use strict';

// What becomes of a value that not every version of Node writes or reads: a primary sends it to a worker, both on corral, with
// `advanced`. The one of the two that knows prints a line of JSON.
//
//   node values.js <the worker's runtime, as JSON> <name of the value>

const fs = require('node:fs');

const cluster = require('../..');

/** Without the names of what this Node lacks. @type {any} */
const { DOMException, Float16Array } = globalThis;

/** @type {Record<string, { make: () => any, isWhole: (value: any) => boolean }>} */
const VALUES = {
  'an Error with a cause': {
    make: () => new Error('outer', { cause: 'inner' }),
    isWhole: ({ message, cause }) => message === 'outer' && cause === 'inner',
  },
  'a Float16Array': {
    make: () => Float16Array && new Float16Array([1, 2]),
    isWhole: (array) => Float16Array !== undefined && array instanceof Float16Array && array[1] === 2,
  },
  'a DOMException': {
    make: () => new DOMException('what it says', 'AbortError'),
    isWhole: ({ name, message }) => name === 'AbortError' && message === 'what it says',
  },
};

/** @param {string} outcome */
function print(outcome) {
  fs.writeSync(1, `${JSON.stringify({ outcome })}\n`);
}

function read() {
  const { isWhole } = VALUES[/** @type {string} */ (process.env.VALUE)];
  cluster.worker.on('error', (/** @type {any} */ { code }) => {
    print(code === 'ERR_CORRAL_BAD_FRAME' ? 'error' : `error ${code}`);
  });
  process.on('message', (/** @type {any} */ { value }) => {
    print(isWhole(value) ? 'arrives' : 'changes');
    process.disconnect();
  });
  process.send?.('ready');
}

function write() {
  const [runtime, name] = process.argv.slice(2);
  const value = VALUES[name].make();
  if (value === undefined) return print('not there');
  const { binary, args } = JSON.parse(runtime);
  cluster.setupPrimary({ serialization: 'advanced', execArgv: args });
  process.execPath = binary;
  const worker = cluster.fork({ VALUE: name });
  // When the channel has moved: it is corral that reads.
  worker.once('message', () => worker.send({ value }));
}

if (cluster.isWorker) read();
else write();
