'use strict';

// A worker of bench/observe.js: it has metrics of its own, and blocks when it is told to.

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');

const { AggregatorRegistry, Counter, register } = require('prom-client');

/** So many as in siimon/prom-client#628. */
const SERIES = 700;

const counter = new Counter({ name: 'served_total', help: 'Requests.', labelNames: ['route'] });
for (let route = 0; route < SERIES; route++) counter.inc({ route: `/route/${route}` }, route);
const cluster = /** @type {any} */ (require('node:cluster'));
if (cluster.publishMetrics) cluster.publishMetrics(register, { interval: 1000 });
// It answers the primary's AggregatorRegistry.
else new AggregatorRegistry();

http.createServer((_, response) => response.end('hello\n')).listen(0, '127.0.0.1');

/** @type {Record<string, () => unknown>} */
const BLOCKS = {
  loop() {
    for (;;) Date.now();
  },
  backtrack() {
    /^(a+)+$/.test(`${'a'.repeat(64)}b`);
  },
  wait() {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  },
  parse() {
    // Some 250 MB: it has to take longer than it takes to be found.
    return JSON.parse(text);
  },
  read() {
    const file = path.join(os.tmpdir(), `corral-bench-${process.pid}`);
    execFileSync('mkfifo', [file]);
    const fd = fs.openSync(file, 'r+');
    fs.unlinkSync(file);
    fs.readSync(fd, Buffer.alloc(1));
  },
};
let text = '';

process.on('message', (/** @type {any} */ message) => {
  if (message?.blockBy !== undefined) {
    if (message.blockBy === 'parse') text = `[${'{"a":[1,2,3,"text"]},'.repeat(12e6)}1]`;
    process.send?.({ at: `${process.hrtime.bigint()}` }, () => BLOCKS[message.blockBy]());
    return;
  }
  if (message?.block === undefined) return;
  process.send?.('blocked', () => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, message.block);
  });
});
process.on('SIGINT', () => {});
