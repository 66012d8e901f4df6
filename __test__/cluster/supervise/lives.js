'use strict';

// Workers that are lost, stuck, too large or too many, and how a supervisor keeps or ends them.

const assert = require('node:assert/strict');
const http = require('node:http');

const { next, until } = require('../../helpers/events');
const { isDead } = require('../../helpers/proc');
const { HOST, ask, nextIn, pidsOf, portOfFirst } = require('../../helpers/supervise');

const QUICK = { signals: false, minUptime: 50, idle: 100, drain: 20_000 };

/** The clock goes on from this time. @param {Date} time @returns {() => number} how often it has been looked at since */
function setClock(time) {
  const { now } = Date;
  const ahead = time.getTime() - now();
  let looks = 0;
  globalThis.Date = class extends Date {
    static now = () => now() + ahead;

    /** @param {any[]} args */
    constructor(...args) {
      super(.../** @type {[]} */ (args.length > 0 ? args : [now() + ahead]));
      if (args.length === 0) looks++;
    }
  };
  return () => looks;
}

function serve() {
  http.createServer((_request, response) => response.end(`${process.pid}`)).listen(0, HOST);
}

/** @param {number} milliseconds how long it takes until its process has ended, once it has left */
function leavesByItself(milliseconds) {
  return {
    async primary(/** @type {any} */ { cluster }) {
      const supervisor = cluster.supervise({ ...QUICK, minUptime: 0, workers: 1 });
      await supervisor.ready;
      supervisor.on('crash', (/** @type {any} */ { reason }) => assert.fail(reason));
      const ready = nextIn(supervisor, 'ready');
      cluster.workers[1].send('leave');
      await ready;
      await supervisor.stop();
    },
    worker(/** @type {any} */ { cluster }) {
      serve();
      process.on('message', () => {
        cluster.worker.disconnect();
        process.once('exit', () =>
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds),
        );
      });
    },
  };
}

module.exports = {
  'a worker that is killed is started anew, in its place': {
    async primary({ cluster }) {
      const supervisor = cluster.supervise({ ...QUICK, workers: 2 });
      await supervisor.ready;
      const before = pidsOf(supervisor);
      const crash = next(supervisor, 'crash');
      const respawn = next(supervisor, 'respawn');
      const ready = nextIn(supervisor, 'ready');
      process.kill(before[1], 'SIGKILL');
      const { slot, pid, reason } = await crash;
      assert.deepEqual([slot, pid, reason], [1, before[1], 'was killed by SIGKILL']);
      assert.equal((await respawn).slot, 1);
      assert.equal((await ready).slot, 1);
      assert.equal(pidsOf(supervisor)[0], before[0]);
      assert.equal(supervisor.status().restarts, 1);
      await supervisor.stop();
    },
    worker: serve,
  },

  'one that throws says what it has written last': {
    async primary({ cluster }) {
      const supervisor = cluster.supervise({ ...QUICK, workers: 1, captureStderr: true });
      await supervisor.ready;
      const crash = next(supervisor, 'crash');
      cluster.workers[1].send('throw');
      const { reason, lines } = await crash;
      assert.equal(reason, 'has exited with code 1');
      assert.ok(
        lines.some((/** @type {string} */ line) => line.includes('thrown as asked')),
        lines.join('\n'),
      );
      await supervisor.stop();
    },
    worker() {
      serve();
      process.on('message', () => {
        throw new Error('thrown as asked');
      });
    },
  },

  'a program that ends at once has not started, and nothing stays behind': {
    async primary({ cluster }) {
      const supervisor = cluster.supervise({ ...QUICK, workers: 3, captureStderr: true });
      const stopped = next(supervisor, 'stopped');
      await assert.rejects(supervisor.ready, {
        code: 'ERR_CORRAL_START_FAILED',
        message: /has exited with code 7 before it was ready\n {4}no configuration/,
      });
      await stopped;
      assert.equal(supervisor.status().state, 'stopped');
      assert.deepEqual(supervisor.status().workers, []);
    },
    worker() {
      console.error('no configuration');
      process.exit(7);
    },
  },

  'a program that cannot be spawned has not started': {
    async primary({ cluster }) {
      const { execPath } = process;
      process.execPath = '/nonexistent/node';
      const supervisor = cluster.supervise({ ...QUICK, workers: 1 });
      process.execPath = execPath;
      await assert.rejects(supervisor.ready, {
        code: 'ERR_CORRAL_START_FAILED',
        message: /could not be started: .*ENOENT/,
      });
    },
  },

  'one that leaves by itself is started anew, and that is no crash': leavesByItself(0),

  'nor is it one if it took its time to end': leavesByItself(600),

  'one that something keeps alive when it has left gets a SIGTERM': {
    async primary({ cluster }) {
      const supervisor = cluster.supervise({ ...QUICK, workers: 1 });
      await supervisor.ready;
      const [exit] = [next(cluster.workers[1].process, 'exit')];
      await supervisor.stop();
      await exit;
    },
    worker() {
      serve();
      setInterval(() => {}, 1_000_000);
    },
  },

  'one that takes no notice of a SIGTERM is killed': {
    async primary({ cluster }) {
      const supervisor = cluster.supervise({ ...QUICK, workers: 1, killTimeout: 50 });
      await supervisor.ready;
      const [pid] = pidsOf(supervisor);
      await supervisor.stop();
      assert.ok(isDead(pid));
    },
    worker() {
      serve();
      process.on('SIGTERM', () => {});
      setInterval(() => {}, 1_000_000);
    },
  },

  'where somebody observes, it is said what a hung worker does': {
    linux: true,
    async primary({ cluster }) {
      cluster.observe({ port: 0, blockedAfter: 100 });
      const supervisor = cluster.supervise({ ...QUICK, workers: 1, hungAfter: 2_000 });
      await supervisor.ready;
      cluster.on('blocked', () => {});
      let reason = '';
      do {
        const [{ id }] = supervisor.status().workers;
        const crash = next(supervisor, 'crash');
        const ready = nextIn(supervisor, 'ready');
        cluster.workers[id].send('hang');
        reason = (await crash).reason;
        await ready;
        // Others may have all processors for as long as a stack is waited for.
      } while (reason.includes('runs native code'));
      assert.match(reason, /^was hung: .* 2000 ms: it runs JavaScript\n {4}at .*lives\.js:\d+:\d+/);
      await supervisor.stop();
    },
    worker() {
      serve();
      process.on('message', () => {
        for (;;);
      });
    },
  },

  'a hung worker is replaced, and others are not': {
    linux: true,
    async primary({ cluster }) {
      const supervisor = cluster.supervise({ ...QUICK, workers: 2, hungAfter: 2_000 });
      await supervisor.ready;
      // It has shown by then what it does.
      await until(() => cluster.stats().workers.every(({ turns }) => turns !== null));
      const before = pidsOf(supervisor);
      const crash = next(supervisor, 'crash');
      const ready = nextIn(supervisor, 'ready');
      cluster.workers[1].send('hang');
      const { pid, reason } = await crash;
      assert.deepEqual([pid, reason], [before[0], 'was hung: its event loop has not turned for 2000 ms']);
      await ready;
      await until(() => isDead(before[0]));
      assert.equal(pidsOf(supervisor)[1], before[1]);
      await supervisor.stop();
    },
    worker() {
      serve();
      process.on('message', () => {
        for (;;);
      });
    },
  },

  'one with too many connections is replaced': {
    linux: true,
    async primary({ cluster }) {
      const first = portOfFirst(cluster);
      const supervisor = cluster.supervise({ ...QUICK, workers: 1, recycle: { connections: 5 } });
      await supervisor.ready;
      const port = await first;
      const recycle = next(supervisor, 'recycle');
      const gone = nextIn(supervisor, 'gone');
      for (let i = 0; i < 5; i++) await ask(port);
      assert.match((await recycle).reason, /^it has had 5 connections$/);
      await gone;
      await supervisor.stop();
    },
    worker: serve,
  },

  'one with too much memory is replaced': {
    linux: true,
    async primary({ cluster }) {
      const supervisor = cluster.supervise({ ...QUICK, workers: 2, recycle: { hardMemory: 200 * 2 ** 20 } });
      await supervisor.ready;
      const recycle = next(supervisor, 'recycle');
      const gone = nextIn(supervisor, 'gone');
      const [pid] = pidsOf(supervisor);
      cluster.workers[1].send('grow');
      const about = await recycle;
      assert.deepEqual([about.pid, about.slot], [pid, 0]);
      assert.match(about.reason, /^it has \d+ MiB of memory$/);
      await gone;
      await supervisor.stop();
    },
    worker() {
      serve();
      const held = [];
      process.on('message', () => held.push(Buffer.alloc(250 * 2 ** 20, 1)));
    },
  },

  'all are replaced when it is time, one after the other, and once': {
    async primary({ cluster }) {
      const aDay = (/** @type {number} */ minute) => new Date(2026, 0, 1, 4, minute);
      // Workers that are started within such a minute are new.
      const looks = setClock(aDay(29));
      const supervisor = cluster.supervise({ ...QUICK, workers: 2, recycle: { at: '29,30 4 * * *' } });
      supervisor.on('recycle', ({ reason }) => assert.equal(reason, 'it is 04:30'));
      await supervisor.ready;
      await until(() => looks() > 2);
      const before = pidsOf(supervisor);
      setClock(aDay(30));
      const first = await next(supervisor, 'recycle');
      const second = await next(supervisor, 'recycle');
      assert.deepEqual([first.pid, second.pid].sort(), before.sort());
      await until(() => !supervisor.status().workers.some(({ pid }) => before.includes(pid)));
      await supervisor.stop();
    },
    worker: serve,
  },

  'the inspector of a worker is started, and it is not hung then': {
    linux: true,
    async primary({ cluster }) {
      cluster.setupPrimary({ execArgv: ['--inspect-port=0'], inspectPort: 0 });
      const supervisor = cluster.supervise({ ...QUICK, workers: 2, hungAfter: 500, captureStderr: true });
      await supervisor.ready;
      await until(() => cluster.stats().workers.every(({ turns }) => turns !== null));
      const [url, other] = await Promise.all([supervisor.inspect(0), supervisor.inspect(1)]);
      assert.match(url, /^ws:\/\/127\.0\.0\.1:\d+\/[-\w]+$/);
      assert.notEqual(url, other);
      assert.equal(await supervisor.inspect(0), url);
      // The other one may be taken for hung where others have all processors.
      supervisor.on('crash', ({ slot, reason }) => assert.notEqual(slot, 0, reason));
      const { pid } = supervisor.status().workers[0];
      await new Promise((resolve) => {
        cluster.workers[1].once('message', resolve);
        cluster.workers[1].send('block');
      });
      assert.equal(pidsOf(supervisor)[0], pid);
      await assert.rejects(supervisor.inspect(7), { code: 'ERR_OUT_OF_RANGE' });
      await supervisor.stop();
    },
    worker() {
      serve();
      process.on('message', () => {
        // For much longer than a worker may that nobody inspects.
        for (const end = Date.now() + 3_000; Date.now() < end; );
        process.send('done');
      });
    },
  },

  'one that is old is replaced': {
    async primary({ cluster }) {
      const supervisor = cluster.supervise({ ...QUICK, workers: 1, recycle: { age: 500 } });
      await supervisor.ready;
      const { reason } = await next(supervisor, 'recycle');
      assert.match(reason, /^it has served for \d+ ms$/);
      await supervisor.stop();
    },
    worker: serve,
  },

  'there are as many workers as there are to be': {
    async primary({ cluster }) {
      const supervisor = cluster.supervise({ ...QUICK, workers: 1 });
      await supervisor.ready;
      supervisor.scale(3);
      await until(() => pidsOf(supervisor).length === 3);
      assert.deepEqual(
        supervisor.status().workers.map(({ slot }) => slot),
        [0, 1, 2],
      );
      supervisor.scale(1);
      await until(() => supervisor.status().workers.length === 1);
      for (const count of [0, 1.5, 4097, '2', undefined]) {
        assert.throws(() => supervisor.scale(count), { code: /ERR_OUT_OF_RANGE|ERR_INVALID_ARG_TYPE/ });
      }
      await supervisor.stop();
    },
    worker: serve,
  },

  'one that has not loaded corral is supervised, too': {
    async primary({ cluster }) {
      const first = portOfFirst(cluster);
      const supervisor = cluster.supervise({ ...QUICK, workers: 2, env: { CORRAL_TEST_PLAIN: '1' } });
      await supervisor.ready;
      const before = pidsOf(supervisor);
      await supervisor.reload();
      assert.ok(!before.includes(Number(await ask(await first))));
      await supervisor.stop();
    },
    worker: serve,
  },

  'an option that cannot be is refused, and nothing is supervised': {
    async primary({ cluster }) {
      const refused = [
        [null, 'ERR_INVALID_ARG_TYPE'],
        [{ worker: 2 }, 'ERR_INVALID_ARG_VALUE'],
        [{ workers: 0 }, 'ERR_OUT_OF_RANGE'],
        [{ workers: '2' }, 'ERR_INVALID_ARG_TYPE'],
        [{ surge: 2 }, 'ERR_OUT_OF_RANGE'],
        [{ drain: -1 }, 'ERR_OUT_OF_RANGE'],
        [{ ready: 'soon' }, 'ERR_INVALID_ARG_VALUE'],
        [{ ready: { url: 'no url' } }, 'ERR_INVALID_ARG_VALUE'],
        [{ recycle: { requests: 5 } }, 'ERR_INVALID_ARG_VALUE'],
        [{ recycle: 5 }, 'ERR_INVALID_ARG_TYPE'],
        [{ recycle: { at: 5 } }, 'ERR_INVALID_ARG_TYPE'],
        [{ recycle: { at: '0 25 * * *' } }, 'ERR_INVALID_ARG_VALUE'],
        [{ servers: -1 }, 'ERR_OUT_OF_RANGE'],
        [{ systemd: 'no' }, 'ERR_INVALID_ARG_TYPE'],
        [{ env: 5 }, 'ERR_INVALID_ARG_TYPE'],
        [{ hungAfter: 5 }, 'ERR_OUT_OF_RANGE'],
        [{ hungSignal: 'SIGWHAT' }, 'ERR_INVALID_ARG_VALUE'],
        [{ signals: 'no' }, 'ERR_INVALID_ARG_TYPE'],
      ];
      for (const [options, code] of refused) assert.throws(() => cluster.supervise(options), { code }, code);
      assert.deepEqual(Object.keys(cluster.workers), []);
      const supervisor = cluster.supervise({ ...QUICK, workers: 1 });
      assert.throws(() => cluster.supervise(), { code: 'ERR_CORRAL_SUPERVISED' });
      await supervisor.ready;
      await supervisor.stop();
      assert.equal(process.listenerCount('SIGTERM'), 0);
    },
    worker: serve,
  },

  'a start that is given up is no error': {
    async primary({ cluster }) {
      const supervisor = cluster.supervise({ ...QUICK, workers: 2 });
      await supervisor.kill();
      await assert.rejects(supervisor.ready, { code: 'ERR_CORRAL_STOPPED' });
      await assert.rejects(supervisor.reload(), { code: 'ERR_CORRAL_RELOAD_FAILED' });
    },
    worker: serve,
  },
};
