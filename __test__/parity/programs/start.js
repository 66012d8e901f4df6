'use strict';

// How a worker starts: its environment, failures to start, and what its own children are.

const path = require('node:path');
const { once } = require('node:events');
const { fork, spawn, spawnSync } = require('node:child_process');
const { Worker: Thread, isMainThread, parentPort, workerData } = require('node:worker_threads');
const { cluster, run, stateOf } = require('../scenario.js');

/** What a process sees of being a worker. */
function identity() {
  return {
    isPrimary: cluster.isPrimary,
    isWorker: cluster.isWorker,
    id: cluster.worker?.id !== undefined,
    // Not whether cluster is in the cache, but whether variables have leaked to where they should not be.
    variables: Object.keys(process.env)
      .filter((name) => /^NODE_/.test(name))
      .sort(),
    channel: typeof process.channel,
    send: typeof process.send,
  };
}

/** Logs what comes of a fork that fails. @param {any} t @param {any} settings */
async function failToStart(t, settings) {
  cluster.settings = {};
  cluster.setupPrimary(settings);
  const worker = t.fork({ quiet: true });
  cluster.settings = {};
  t.ends.length = 0;
  for (const event of ['online', 'error', 'exit', 'disconnect']) {
    worker.on(event, (...args) => t.to(`of the worker ~${event}`)(event, args));
    worker.process.on(event, (...args) => t.to(`of the process ~${event}`)(event, args));
  }
  t.log('forked', worker.process.pid, worker.process.connected, Object.keys(cluster.workers).length);
  return worker;
}

/** @param {any} t @param {any} worker */
async function afterFailure(t, worker) {
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.log('state', stateOf(worker), worker.process.exitCode, worker.process.signalCode);
}

if (process.argv[2] === 'child') {
  process.send?.(identity());
  console.log(JSON.stringify(identity()));
  process.disconnect?.();
} else if (process.argv[2] === 'nested primary') {
  delete process.env.PARITY_CASE;
  if (cluster.isPrimary) {
    cluster.setupPrimary({ args: ['nested primary'] });
    const worker = cluster.fork();
    worker.on('message', (message) => {
      process.send(['from the nested worker', message, identity()]);
      worker.disconnect();
    });
    worker.on('exit', (code) => {
      process.send(['the nested worker has gone', code]);
      process.disconnect();
    });
  } else {
    process.send(identity());
  }
} else if (!isMainThread && workerData === 'thread') {
  const worker = cluster.isPrimary && cluster.fork({ PARITY_CASE: 'in a thread', PARITY_SIDE: 'worker-1' });
  parentPort.postMessage(['thread', cluster.isPrimary]);
  worker.on('message', (message) => parentPort.postMessage(['message', message]));
  worker.on('error', (error) => parentPort.postMessage(['error', error.code]));
  worker.on('disconnect', () => parentPort.postMessage(['disconnect']));
  worker.on('exit', (code) => parentPort.postMessage(['exit', code]));
} else {
  run({
    environment: {
      async primary(t) {
        process.env.PARITY_X = 'from the primary';
        process.env.PARITY_Y = 'from the primary';
        const worker = t.fork({
          PARITY_X: 'from fork',
          PARITY_NUMBER: 5,
          PARITY_FALSE: false,
          PARITY_NULL: null,
          PARITY_UNDEFINED: undefined,
          PARITY_EMPTY: '',
          NODE_UNIQUE_ID: 'ignored',
        });
        t.log('id', worker.id);
        process.env.PARITY_Y = 'too late';
      },
      worker(t) {
        t.log(
          'variables',
          Object.entries(process.env)
            .filter(([name]) => /^PARITY_(X|Y|[FNUE][A-Z]{3,})/.test(name))
            .sort(),
        );
        t.log('identity', identity(), process.env.NODE_UNIQUE_ID, process.env.NODE_CHANNEL_FD);
        process.disconnect();
      },
    },
    'odd environments': {
      async primary(t) {
        for (const env of [null, undefined, 5, 'text', [1]]) {
          const worker = cluster.fork(env);
          t.log('forked', env, worker.process.connected);
          worker.process.kill('SIGKILL');
          await Promise.all([once(worker, 'exit'), once(worker, 'disconnect')]);
        }
      },
    },
    'fork is not bound': {
      async primary(t) {
        const { fork: unbound } = cluster;
        const worker = unbound({ PARITY_CASE: 'fork is not bound', PARITY_SIDE: 'worker-1' });
        t.log('exit', await once(worker, 'exit'));
      },
      worker: () => process.exit(3),
    },
    'a missing script': {
      async primary(t) {
        cluster.setupPrimary({ exec: path.join(__dirname, 'missing.js'), silent: true });
        t.fork();
        cluster.settings = {};
      },
    },
    'a script that does not parse': {
      async primary(t) {
        cluster.setupPrimary({ exec: path.join(__dirname, '..', 'workers', 'broken.txt'), silent: true });
        t.fork();
        cluster.settings = {};
      },
    },
    'a missing node': {
      async primary(t) {
        const { execPath } = process;
        process.execPath = '/nowhere/node';
        const worker = await failToStart(t, {});
        process.execPath = execPath;
        await once(worker, 'error');
        await afterFailure(t, worker);
      },
    },
    'a missing directory': {
      async primary(t) {
        const worker = await failToStart(t, { cwd: '/nowhere' });
        await once(worker, 'error');
        await afterFailure(t, worker);
      },
    },
    'the next one is not hurt': {
      worker: () => process.disconnect(),
    },
    'children of a worker': {
      async primary(t) {
        const worker = t.fork();
        t.log('forked', await t.message(worker));
        t.log('spawned', await t.message(worker));
      },
      async worker(t) {
        t.log('itself', identity());
        const child = fork(process.argv[1], ['child'], { stdio: 'ignore' });
        const [message] = await once(child, 'message');
        process.send(message);
        const { stdout } = spawnSync(process.execPath, [process.argv[1], 'child'], { encoding: 'utf8' });
        process.send(JSON.parse(stdout));
        process.disconnect();
      },
    },
    'a worker with workers': {
      async primary(t) {
        const worker = t.fork();
        t.log('first', await t.message(worker));
        t.log('second', await t.message(worker));
      },
      worker() {
        const child = fork(process.argv[1], ['nested primary']);
        child.on('message', (message) => process.send(message));
        child.on('exit', () => process.disconnect());
      },
    },
    'a child of the primary beside workers': {
      async primary(t) {
        const worker = t.fork();
        const online = once(worker, 'online');
        const child = fork(process.argv[1], ['child'], { stdio: 'ignore' });
        t.log('child', (await once(child, 'message'))[0]);
        const plain = spawn(process.execPath, [process.argv[1], 'child'], {
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        t.log('spawned', JSON.parse(String((await once(plain.stdout, 'data'))[0])));
        await online;
        worker.disconnect();
      },
    },
    'in a thread': {
      async primary(t) {
        const thread = new Thread(process.argv[1], { workerData: 'thread' });
        thread.on('message', (message) => t.to(`thread ${message[0]}`)(...message));
        thread.on('error', (error) => t.to('thread error')('error', error.code));
        t.to('thread end')('end', await once(thread, 'exit'));
      },
      worker() {
        process.send('from the worker', () => process.disconnect());
      },
    },
  });
}
