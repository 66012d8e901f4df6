'use strict';

// setupPrimary: what it makes of its argument, when settings take effect, and how wrong ones fail.

const fs = require('node:fs');
const path = require('node:path');
const { once } = require('node:events');
const { cluster, run, SCRATCH } = require('../scenario.js');

const REPORT = path.join(__dirname, '..', 'workers', 'report.js');

/** Back to what a fresh primary has. */
function reset() {
  cluster.settings = {};
}

/** @param {any} settings */
function shown(settings) {
  return Object.entries(settings).map(([key, value]) => {
    return [key, key === 'exec' && typeof value === 'string' ? path.basename(value) : value];
  });
}

/** Forks with these settings and logs what the worker reports. */
function reportWith(settings, env = {}) {
  return async (t) => {
    reset();
    cluster.setupPrimary({ exec: REPORT, ...settings });
    const worker = t.fork(env);
    t.log(
      'spawnargs',
      worker.process.spawnargs.slice(1).map((text) => path.basename(text)),
      worker.process.spawnfile,
    );
    t.log('report', await t.message(worker));
    await t.ended();
    reset();
  };
}

/** @param {any} settings */
function failing(settings) {
  return async (t) => {
    reset();
    let worker;
    try {
      cluster.setupPrimary({ exec: REPORT, ...settings });
      t.log(
        'set up',
        shown(cluster.settings).filter(([key]) => Object.hasOwn(settings, key)),
      );
      worker = t.fork();
      worker.on('error', () => {});
      // Before it can have said anything.
      worker.process.kill();
      t.log('forked');
    } catch (error) {
      // Those without a code come from somewhere inside; their text promises nothing.
      t.log('thrown', error.name, error.code, error.code && error.message);
    }
    t.log('workers', Object.keys(cluster.workers).length);
    if (worker) await t.ended();
    reset();
  };
}

run({
  'before the first call': { primary: (t) => t.log('settings', cluster.settings) },
  defaults: {
    primary(t) {
      t.log('returns', cluster.setupPrimary());
      t.log('settings', shown(cluster.settings));
      t.log('execArgv is that of the process', cluster.settings.execArgv === process.execArgv);
      t.log('alias', cluster.setupMaster === cluster.setupPrimary);
    },
  },
  'setup events': {
    async primary(t) {
      reset();
      cluster.on('setup', function (...args) {
        const [settings] = args;
        t.log('setup', shown(settings), args.length, this === cluster, settings === cluster.settings);
      });
      cluster.setupPrimary({ args: ['one'] });
      t.log('called once', shown(cluster.settings));
      cluster.setupPrimary({ args: ['two'], silent: true });
      t.log('called twice', shown(cluster.settings));
      await new Promise(setImmediate);
      cluster.setupPrimary({ exec: REPORT, silent: false, unknown: 'kept' });
      await new Promise(setImmediate);
      const worker = t.fork();
      t.log('forked', cluster.settings.unknown);
      t.log('report', await t.message(worker));
      await t.ended();
      cluster.removeAllListeners('setup');
      reset();
    },
  },
  'each call makes new settings': {
    primary(t) {
      reset();
      cluster.setupPrimary({ args: ['one'] });
      const before = cluster.settings;
      cluster.setupPrimary();
      t.log('same object', before === cluster.settings, before.args === cluster.settings.args);
      for (const odd of [null, undefined, 5, 'text', [1], true]) {
        try {
          cluster.setupPrimary(odd);
          t.log('taken', odd, shown(cluster.settings));
        } catch (error) {
          t.log('thrown', error);
        }
        reset();
      }
    },
  },
  'changed later': {
    async primary(t) {
      reset();
      cluster.setupPrimary({ exec: REPORT, args: ['first'] });
      const first = t.fork();
      cluster.setupPrimary({ args: ['second'] });
      const second = t.fork();
      cluster.settings.args = ['third'];
      const third = t.fork();
      for (const worker of [first, second, third])
        t.to(`report ${worker.id}`)('report', await t.message(worker));
      await t.ended();
      reset();
    },
  },
  'args and execArgv': {
    primary: reportWith({ args: ['a', 'b c', '--flag', ''], execArgv: ['--no-warnings', '--title=x y'] }),
  },
  'no args': { primary: reportWith({ args: undefined, execArgv: [] }) },
  cwd: {
    async primary(t) {
      fs.mkdirSync(path.join(SCRATCH, 'elsewhere'));
      await reportWith({ cwd: path.join(SCRATCH, 'elsewhere') })(t);
    },
  },
  'cwd relative': {
    async primary(t) {
      fs.mkdirSync(path.join(SCRATCH, 'relative'));
      await reportWith({ cwd: 'relative' })(t);
    },
  },
  'exec relative to cwd': {
    async primary(t) {
      fs.mkdirSync(path.join(SCRATCH, 'there'));
      fs.writeFileSync(path.join(SCRATCH, 'there', 'w.js'), `require(${JSON.stringify(REPORT)})`);
      await reportWith({ exec: './w.js', cwd: path.join(SCRATCH, 'there') })(t);
    },
  },
  windowsHide: { primary: reportWith({ windowsHide: true }) },
  'own uid and gid': { primary: reportWith({ uid: process.getuid?.(), gid: process.getgid?.() }) },
  'another uid': {
    async primary(t) {
      // Root may; for others the spawn fails. Both are to be the same here and there.
      reset();
      cluster.setupPrimary({ exec: REPORT, uid: 65534, gid: 65534 });
      const worker = t.fork({ quiet: true });
      t.log(
        'first event',
        await Promise.race([
          t.message(worker),
          once(worker, 'error').then(([error]) => ['error', error.code, error.syscall]),
          once(worker, 'exit'),
        ]),
      );
      t.ends = process.getuid?.() === 0 ? t.ends : [];
      await t.ended();
      reset();
    },
  },
  'serialization by name': { primary: reportWith({ serialization: 'advanced' }) },
  'serialization undefined': { primary: reportWith({ serialization: undefined }) },
  'silent as a truthy value': { primary: reportWith({ silent: 'yes' }) },
  '--prof': {
    primary(t) {
      for (const execArgv of [
        ['--prof'],
        ['--prof', '--logfile=mine.log'],
        ['--prof-sampling-interval=100'],
        ['--no-prof'],
        ['--logfile=mine.log'],
        [],
      ]) {
        reset();
        cluster.setupPrimary({ execArgv });
        t.log('execArgv', execArgv, cluster.settings.execArgv, cluster.settings.execArgv === execArgv);
      }
      reset();
    },
  },
  'exec a number': { primary: failing({ exec: 5 }) },
  'exec null': { primary: failing({ exec: null }) },
  'exec undefined': { primary: failing({ exec: undefined }) },
  'exec with a null byte': { primary: failing({ exec: 'a\0b' }) },
  'args a string': { primary: failing({ args: 'text' }) },
  'args null': { primary: failing({ args: null }) },
  'args with a number': { primary: failing({ args: [1, null] }) },
  'args with a null byte': { primary: failing({ args: ['a\0b'] }) },
  'execArgv a string': { primary: failing({ execArgv: '--no-warnings' }) },
  'execArgv null': { primary: failing({ execArgv: null }) },
  'execArgv a number': { primary: failing({ execArgv: 5 }) },
  'cwd a number': { primary: failing({ cwd: 5 }) },
  'cwd with a null byte': { primary: failing({ cwd: 'a\0b' }) },
  'stdio a bad word': { primary: failing({ stdio: 'nonsense' }) },
  'stdio without ipc': { primary: failing({ stdio: ['ignore', 'ignore', 'ignore'] }) },
  'stdio with two ipc': { primary: failing({ stdio: ['ignore', 'ignore', 'ignore', 'ipc', 'ipc'] }) },
  'stdio with a bad entry': { primary: failing({ stdio: ['ignore', 'ignore', 'nonsense', 'ipc'] }) },
  'stdio a number': { primary: failing({ stdio: 5 }) },
  'stdio an object': { primary: failing({ stdio: {} }) },
  'serialization a bad word': { primary: failing({ serialization: 'nonsense' }) },
  'serialization a number': { primary: failing({ serialization: 5 }) },
  'uid a string': { primary: failing({ uid: 'root' }) },
  'uid a fraction': { primary: failing({ uid: 1.5 }) },
  'gid a string': { primary: failing({ gid: 'root' }) },
  'gid too large': { primary: failing({ gid: 2 ** 40 }) },
  'windowsHide a string': { primary: failing({ windowsHide: 'yes' }) },
  'inspectPort null': { primary: failing({ inspectPort: null }) },
  'ids go on': {
    async primary(t) {
      // Also those that failed have taken one.
      cluster.setupPrimary({ exec: REPORT });
      const worker = t.fork();
      t.log('id', worker.id, cluster.workers[worker.id] === worker);
      t.log('report', await t.message(worker));
    },
  },
});
