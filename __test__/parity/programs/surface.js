'use strict';

// What the module and the Worker class look like, in the primary and in a worker.

const EventEmitter = require('node:events');
const { cluster, run } = require('../scenario.js');

/** What corral has and Node has not. */
const OURS = new Set([
  'SCHED_LEAST',
  'SCHED_REUSEPORT',
  'SCHED_STICKY',
  'adoptSocket',
  'bindSession',
  'broadcast',
  'channel',
  'handOver',
  'native',
  'observe',
  'policyTable',
  'profile',
  'publishMetrics',
  'respond',
  'stats',
  'succeed',
  'supervise',
  'workerById',
]);
const OURS_OF_WORKERS = new Set(['request', 'respond', 'suicide', 'weight']);

/** @param {any} object @param {Set<string>} [except] */
function members(object, except = new Set()) {
  return Object.getOwnPropertyNames(object)
    .filter((name) => !except.has(name))
    .sort()
    .map((name) => [
      name,
      typeof object[name],
      typeof object[name] === 'function' ? object[name].length : null,
    ]);
}

/** @param {any} t */
function logSurface(t) {
  t.log(
    'cluster',
    members(cluster, OURS).filter(([name]) => !name.startsWith('_')),
  );
  t.log(
    'enumerable',
    Object.keys(cluster)
      .filter((name) => !name.startsWith('_') && !OURS.has(name))
      .sort(),
  );
  t.log(
    'emitter',
    cluster instanceof EventEmitter,
    Object.getPrototypeOf(cluster) === EventEmitter.prototype,
  );
  t.log('who', cluster.isPrimary, cluster.isMaster, cluster.isWorker);
  t.log('constants', cluster.SCHED_NONE, cluster.SCHED_RR, cluster.schedulingPolicy);
  t.log('worker', typeof cluster.worker, typeof cluster.workers);
  const { Worker } = cluster;
  t.log(
    'Worker',
    Worker.name,
    Worker.length,
    members(Worker.prototype, OURS_OF_WORKERS).filter(([name]) => !name.startsWith('_')),
  );
  t.log(
    'its prototypes',
    Worker.prototype instanceof EventEmitter,
    Object.getPrototypeOf(Worker) === EventEmitter,
  );
}

/** @param {any} t */
function construct(t) {
  const { Worker } = cluster;
  const fake = Object.assign(new EventEmitter(), {
    exitCode: null,
    signalCode: null,
    connected: true,
    send: (...args) => ['sent', ...args],
    kill: (...args) => t.log('killed', args),
    disconnect: (...args) => t.log('disconnected', args),
  });
  for (const options of [
    undefined,
    null,
    5,
    'text',
    {},
    { id: 3 },
    { id: '4' },
    { id: 'x' },
    { state: 'odd' },
    { id: 1.9 },
  ]) {
    for (const make of [(value) => new Worker(value), (value) => Worker(value)]) {
      const worker = make(options);
      t.log('made', options, worker instanceof Worker, worker instanceof EventEmitter, {
        id: worker.id,
        state: worker.state,
        process: worker.process,
        exitedAfterDisconnect: worker.exitedAfterDisconnect,
        keys: Object.keys(worker)
          .filter((name) => !name.startsWith('_'))
          .sort(),
      });
    }
  }
  const worker = new Worker({ id: 3, process: fake, state: 'online' });
  t.log(
    'with a process',
    worker.id,
    worker.state,
    worker.process === fake,
    worker.isConnected(),
    worker.isDead(),
  );
  t.log('send', worker.send(1, 2, 3));
  for (const event of ['message', 'error']) {
    worker.on(event, function (...args) {
      t.log(event, args, this === worker);
    });
  }
  fake.emit('message', 'one', 'two', 'three');
  fake.emit('error', 'code', 'signal', 'more');
  fake.connected = false;
  fake.exitCode = 0;
  t.log('then', worker.isConnected(), worker.isDead());
  fake.exitCode = null;
  fake.signalCode = 'SIGTERM';
  t.log('then', worker.isDead());
  if (cluster.isPrimary) {
    worker.kill('SIGINT');
    worker.destroy();
  }
  return Worker;
}

run({
  'in the primary': {
    primary(t) {
      logSurface(t);
      construct(t);
    },
  },
  'a subclass': {
    primary(t) {
      class Special extends cluster.Worker {
        get special() {
          return true;
        }
      }
      const worker = new Special({ id: 9 });
      t.log('made', worker.id, worker.special, worker instanceof cluster.Worker);
    },
  },
  'in a worker': {
    primary(t) {
      const worker = t.fork();
      t.log('a real one', worker instanceof cluster.Worker, worker.constructor === cluster.Worker, worker.id);
      t.log(
        'its properties',
        Object.keys(worker)
          .filter((name) => !name.startsWith('_'))
          .sort(),
      );
      t.log('its process', worker.process.constructor.name, worker.process.pid > 0, worker.process.connected);
    },
    worker(t) {
      // biome-ignore lint/style/useNodejsImportProtocol: the other name is what is asked for
      t.log('the same object', cluster === require('node:cluster'), cluster === require('cluster'));
      logSurface(t);
      construct(t);
      t.log('worker', cluster.worker.id > 0, cluster.worker.process === process, cluster.worker.state);
      t.log(
        'not there',
        cluster.fork,
        cluster.workers,
        cluster.settings,
        cluster.setupPrimary,
        cluster.disconnect,
      );
      process.disconnect();
    },
  },
  'the list of workers': {
    async primary(t) {
      t.log('before', Object.keys(cluster.workers).length);
      const workers = [t.fork(), t.fork()];
      const base = workers[0].id;
      t.log(
        'two',
        Object.keys(cluster.workers).map((id) => id - base),
        workers.map(({ id }) => id - base),
      );
      await t.ended();
      t.log('after', Object.keys(cluster.workers).length);
    },
    worker: () => process.disconnect(),
  },
});
