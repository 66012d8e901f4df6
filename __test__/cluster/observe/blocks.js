'use strict';

// Workers whose event loops do not turn: what they do instead, found from outside of their event loops.

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const { compiledAnew } = require('../../helpers/compiled-anew');
const { endAll, hasSettled, next, portOf, until } = require('../../helpers/events');
const { block, blockWhenTold, release } = require('../../helpers/lanes');
const { threadNames } = require('../../helpers/proc');
const { get, samplesOf } = require('../../helpers/scrape');
const { answerWithId } = require('../../helpers/servers');

/** From when on a loop counts as blocked here, in milliseconds. */
const SOON = 150;

/** A module whose function `f` never returns. */
const ENDLESS_WASM = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 9, 1, 7, 0, 3, 64,
  12, 0, 11, 11,
]);

/** What ends when the worker is killed, by its name, in which V8 can be interrupted. @type {Record<string, () => void>} */
const INTERRUPTIBLE = {
  loop() {
    for (;;) Date.now();
  },
  backtrack() {
    /^(a+)+$/.test(`${'a'.repeat(64)}b`);
  },
  wait() {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  },
  webAssembly() {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(ENDLESS_WASM));
    /** @type {any} */ (exports).f();
  },
  compare() {
    [1, 2].sort(() => {
      for (;;) Date.now();
    });
  },
  promises() {
    const again = () => Promise.resolve().then(again);
    again();
  },
};

/** The same where it cannot, by what is told instead. @type {Record<string, { does: RegExp, run: (file: string) => void }>} */
const NATIVE = {
  read: {
    does: /^waits in read of .*\/fifo$/,
    run: (file) => fs.readSync(fs.openSync(file, 'r+'), Buffer.alloc(1)),
  },
  open: { does: /^waits in open(at)?$/, run: (file) => fs.openSync(file, 'r') },
  parse: {
    does: /^runs native code$/,
    run: () => JSON.parse(`[${'{"a":[1,2,3,"text"]},'.repeat(5e6)}1]`),
  },
};

/** @param {any} context */
function blockAsTold(context) {
  answerWithId(context);
  process.on('message', (/** @type {{ name: string, file: string }} */ { name, file }) => {
    if (NATIVE[name]) NATIVE[name].run(file);
    else INTERRUPTIBLE[name]();
  });
}

/** @param {any} context @param {object} what */
async function blocked({ cluster, fork }, what) {
  const worker = fork();
  await portOf(worker);
  await until(() => hasSettled(cluster, worker));
  const told = next(worker, 'told');
  cluster.on('blocked', (/** @type {any} */ who, /** @type {any} */ about) => {
    if (who === worker) worker.emit('told', about);
  });
  worker.send(what);
  const about = await told;
  return { worker, about };
}

/**
 * One that is told with its stack: others may have all processors for as long as one is waited for.
 *
 * @param {any} context
 * @param {object} what
 */
async function blockedWithStack(context, what) {
  for (;;) {
    const { worker, about } = await blocked(context, what);
    if (about.stack !== null) return { worker, about };
    await kill(worker);
  }
}

/**
 * The same of a worker that runs `blockWhenTold`, and blocks when this returns.
 *
 * @template T
 * @param {any} context
 * @param {any} worker
 * @param {() => Promise<T>} told waits until a block is told
 * @param {(told: T) => boolean} hasStack
 * @returns {Promise<T>}
 */
async function blockWithStack({ cluster, scratch }, worker, told, hasStack) {
  for (;;) {
    const begun = told();
    await block(scratch, worker);
    const found = await begun;
    if (hasStack(found)) return found;
    const over = next(cluster, 'unblocked');
    release(scratch, worker);
    await over;
    for (const name of ['blocked', 'go']) fs.rmSync(path.join(scratch, `${name}-${worker.id}`));
  }
}

/** @param {any} worker */
async function kill(worker) {
  const gone = next(worker, 'exit');
  worker.process.kill('SIGKILL');
  await gone;
}

module.exports = {
  ...Object.fromEntries(
    Object.keys(INTERRUPTIBLE).map((name) => [
      `the function that blocks is told, with its file and line: ${name}`,
      {
        linux: true,
        async primary(/** @type {any} */ context) {
          context.cluster.observe({ port: 0, blockedAfter: SOON });
          const { worker, about } = await blockedWithStack(context, { name });
          const { since, stack, isLate, duration } = about;
          assert.equal(isLate, false, JSON.stringify(about));
          assert.equal(duration, null);
          assert.ok(Math.abs(Date.now() - since) < 60_000, `${since}`);
          assert.equal(worker.blocked, about);
          const lines = fs.readFileSync(__filename, 'utf8').split('\n');
          const begin = lines.findIndex((line) => line.startsWith(`  ${name}() {`));
          const end = lines.indexOf('  },', begin);
          const frame = stack.find((/** @type {any} */ { file }) => file === __filename);
          assert.ok(frame.line > begin && frame.line <= end + 1, JSON.stringify(stack));
          await kill(worker);
        },
        worker: blockAsTold,
      },
    ]),
  ),

  ...Object.fromEntries(
    Object.entries(NATIVE).map(([name, { does }]) => [
      `what the thread does is told where there is no stack: ${name}`,
      {
        linux: true,
        async primary(/** @type {any} */ context) {
          context.cluster.observe({ port: 0, blockedAfter: SOON });
          const file = path.join(context.scratch, 'fifo');
          execFileSync('mkfifo', [file]);
          const { worker, about } = await blocked(context, { name, file });
          assert.equal(about.stack, null);
          assert.match(about.activity, does);
          await kill(worker);
        },
        worker: blockAsTold,
      },
    ]),
  ),

  'a block has an end, and is in /blocks, in metrics and among the events': {
    linux: true,
    async primary(context) {
      const { cluster, fork, scratch } = context;
      const { port } = cluster.observe({ port: 0, blockedAfter: SOON }).address();
      const events = await followed(port);
      const worker = fork();
      await portOf(worker);
      await until(() => hasSettled(cluster, worker));
      const begun = () => next(cluster, 'blocked');
      const who = await blockWithStack(context, worker, begun, ({ blocked }) => blocked.stack !== null);
      assert.equal(who, worker);
      const [lasting] = JSON.parse((await get(port, '/blocks')).body);
      assert.deepEqual([lasting.worker, lasting.pid, lasting.duration], [1, worker.process.pid, null]);
      const over = new Promise((resolve) => cluster.once('unblocked', (_, about) => resolve(about)));
      release(scratch, worker);
      const { duration, stack } = await over;
      assert.ok(duration >= SOON, `${duration}`);
      assert.equal(worker.blocked, undefined);
      assert.deepEqual(JSON.parse((await get(port, '/blocks')).body)[0].stack, stack);
      const samples = samplesOf((await get(port, '/metrics')).body);
      const counted = [...samples].filter(([name]) =>
        /^corral_blocks_total\{frame=".*\.js:\d+:\d+/.test(name),
      );
      assert.equal(counted.length, 1);
      assert.equal(counted[0][1], 1);
      await until(() => /event: blocked\n/.test(events.text()) && /event: unblocked\n/.test(events.text()));
      events.end();
      await endAll(cluster);
    },
    worker: blockWhenTold,
  },

  'without a listener it is a warning, with the stack': {
    linux: true,
    async primary(context) {
      const { cluster, fork, scratch } = context;
      cluster.observe({ port: 0, blockedAfter: SOON });
      const worker = fork();
      await portOf(worker);
      await until(() => hasSettled(cluster, worker));
      const warned = () => next(process, 'warning');
      const hasStack = (/** @type {any} */ { message }) => message.includes('\n    at ');
      const { code, message } = await blockWithStack(context, worker, warned, hasStack);
      assert.equal(code, 'CORRAL_BLOCKED');
      assert.match(message, /^worker 1 is blocked since \d{4}-.*: it .*\n {4}at .*\.js:\d+:\d+\)?/);
      release(scratch, worker);
      await endAll(cluster);
    },
    worker: blockWhenTold,
  },

  'a worker has a thread for it while somebody observes, and none before and afterwards': {
    linux: true,
    async primary({ cluster, fork }) {
      const worker = fork();
      await portOf(worker);
      await until(() => hasSettled(cluster, worker));
      const { pid } = worker.process;
      const count = () => threadNames(pid).filter((name) => name === 'corral-link').length;
      assert.equal(count(), 0);
      for (let time = 0; time < 3; time += 1) {
        const observers = [cluster.observe({ port: 0 }), cluster.observe({ port: 0 })];
        await until(() => count() === 1);
        observers[0].close();
        assert.equal(count(), 1);
        observers[1].close();
        await until(() => count() === 0);
      }
      await endAll(cluster);
    },
    worker: answerWithId,
  },

  'a profile says what a worker spends its time on, also over HTTP': {
    linux: true,
    async primary({ cluster, fork }) {
      const worker = fork();
      await portOf(worker);
      await until(() => hasSettled(cluster, worker));
      const names = (/** @type {any} */ profile) =>
        profile.nodes.map((/** @type {any} */ { callFrame }) => callFrame.functionName);
      // There is nothing in one during which others had all processors.
      const isSeen = (/** @type {any} */ profile) => names(profile).includes('spendTime');
      // Nobody observes yet, and nobody does afterwards.
      await until(async () => isSeen(await cluster.profile(worker, { seconds: 0.3 })));
      const { port } = cluster.observe({ port: 0 }).address();
      await until(async () => {
        const { status, body } = await get(port, '/profile?worker=1&seconds=0.3');
        assert.equal(status, 200, body);
        return isSeen(JSON.parse(body));
      });
      assert.equal((await get(port, '/profile?worker=9')).status, 404);
      assert.equal((await get(port, '/profile')).status, 400);
      // Of two at once one is refused; what becomes of the other is known when the worker has gone.
      const both = [0, 1].map(() => get(port, '/profile?worker=1&seconds=60'));
      const refused = await Promise.race(both);
      assert.equal(refused.status, 504);
      assert.match(refused.body, /another profile/);
      await kill(worker);
      const [taken] = (await Promise.all(both)).filter((answer) => answer !== refused);
      assert.equal(taken.status, 504);
      assert.match(taken.body, /has gone/);
    },
    worker(context) {
      answerWithId(context);
      const spendTime = 'function spendTime() { const end = Date.now() + 10; while (Date.now() < end); }';
      setInterval(compiledAnew(spendTime), 20).unref();
    },
  },

  'what is no worker, and no time for a profile, is refused': {
    async primary({ cluster, fork }) {
      const plain = fork('', { CORRAL_TEST_PLAIN: '1' });
      await portOf(plain);
      await assert.rejects(cluster.profile(plain), { code: 'ERR_CORRAL_NO_PROFILE' });
      await assert.rejects(cluster.profile({}), { code: 'ERR_INVALID_ARG_TYPE' });
      await assert.rejects(cluster.profile(plain, null), { code: 'ERR_INVALID_ARG_TYPE' });
      await assert.rejects(cluster.profile(plain, { seconds: '1' }), { code: 'ERR_INVALID_ARG_TYPE' });
      for (const seconds of [0, -1, 301, Number.NaN]) {
        await assert.rejects(cluster.profile(plain, { seconds }), { code: 'ERR_OUT_OF_RANGE' });
      }
      await endAll(cluster);
    },
    worker: answerWithId,
  },

  'a profile of a worker that goes is refused, and keeps the process until then': {
    linux: true,
    async primary({ cluster, fork }) {
      const worker = fork();
      await portOf(worker);
      await until(() => hasSettled(cluster, worker));
      const profile = cluster.profile(worker, { seconds: 60 });
      worker.process.kill('SIGKILL');
      await assert.rejects(profile, { code: 'ERR_CORRAL_NO_PROFILE' });
    },
    worker: answerWithId,
  },

  'a worker that answers with what is no profile was the end of the primary': {
    linux: true,
    async primary({ cluster, fork }) {
      const worker = fork();
      await portOf(worker);
      await until(() => hasSettled(cluster, worker));
      const profile = cluster.profile(worker, { seconds: 0.1 });
      await assert.rejects(profile, {
        code: 'ERR_CORRAL_NO_PROFILE',
        message: /what it has answered is none/,
      });
      await endAll(cluster);
    },
    worker(context) {
      const { stringify } = JSON;
      JSON.stringify = (/** @type {any} */ value, /** @type {any} */ ...rest) =>
        value?.samples === undefined ? stringify(value, ...rest) : '{';
      answerWithId(context);
    },
  },
};

/** @param {number} port */
async function followed(port) {
  const request = require('node:http').get({ host: '127.0.0.1', port, path: '/events', agent: false });
  const response = await next(request, 'response');
  let text = '';
  response.setEncoding('utf8').on('data', (/** @type {string} */ part) => {
    text += part;
  });
  response.on('error', () => {});
  return { text: () => text, end: () => request.destroy() };
}
