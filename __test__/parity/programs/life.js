'use strict';

// From fork to exit: which events, in which order, with which arguments and states, for each way of ending.

const { once } = require('node:events');
const { cluster, run, stateOf } = require('../scenario.js');

/** Ends the worker once the primary has seen that it is online. @param {(worker: any) => void} end */
function whenOnline(end) {
  return async (t) => {
    const worker = t.fork();
    await once(worker, 'online');
    end(worker, t);
  };
}

/** What the worker sees of its own end. */
function watchOwnEnd(t) {
  const { worker } = cluster;
  worker.on('disconnect', function (...args) {
    t.log('worker disconnect', { this: this === worker }, args, ownState());
  });
  process.on('disconnect', () => t.log('process disconnect', ownState()));
  process.on('exit', (code) => t.log('process exit', code, ownState()));
}

function ownState() {
  const { worker } = cluster;
  return {
    dead: worker.isDead(),
    connected: worker.isConnected(),
    exitedAfterDisconnect: worker.exitedAfterDisconnect,
    state: worker.state,
  };
}

run({
  exit: { worker: () => process.exit() },
  'exit 3': { worker: () => process.exit(3) },
  'exit code': {
    worker(t) {
      watchOwnEnd(t);
      process.exitCode = 4;
      process.disconnect();
    },
  },
  'uncaught exception': {
    worker() {
      setImmediate(() => {
        throw new Error('nobody catches this');
      });
    },
  },
  'unhandled rejection': { worker: () => Promise.reject(new Error('nobody catches this either')) },
  'own signal': { worker: () => process.kill(process.pid, 'SIGKILL') },
  'primary kills': { primary: whenOnline((worker) => worker.kill()), worker: watchOwnEnd },
  'primary kills with SIGKILL': { primary: whenOnline((worker) => worker.kill('SIGKILL')) },
  'primary destroys with SIGINT': { primary: whenOnline((worker) => worker.destroy('SIGINT')) },
  'primary kills the process': {
    primary: whenOnline((worker, t) => t.log('killed', worker.process.kill('SIGHUP'), worker.process.killed)),
  },
  'signal with a handler': {
    primary: whenOnline((worker) => {
      worker.once('message', () => worker.kill('SIGUSR2'));
      worker.send('get ready');
    }),
    worker(t) {
      process.on('message', () => process.send('ready'));
      process.on('SIGUSR2', () => {
        t.log('got SIGUSR2');
        process.exit(7);
      });
    },
  },
  'primary disconnects': {
    primary: whenOnline((worker, t) => {
      t.log('returns itself', worker.disconnect() === worker, stateOf(worker));
    }),
    worker: watchOwnEnd,
  },
  'primary disconnects at once': {
    primary(t) {
      const worker = t.fork();
      t.log('forked', stateOf(worker));
      t.log('returns itself', worker.disconnect() === worker, stateOf(worker));
    },
    worker: watchOwnEnd,
  },
  'primary disconnects the process': {
    primary: whenOnline((worker, t) => {
      worker.process.on('disconnect', () => t.log('process disconnect', stateOf(worker, 'disconnect')));
      worker.process.disconnect();
      t.log('afterwards', stateOf(worker), worker.process.connected);
    }),
    worker: watchOwnEnd,
  },
  'worker disconnects': {
    worker(t) {
      watchOwnEnd(t);
      t.log('returns itself', cluster.worker.disconnect() === cluster.worker, ownState());
    },
  },
  'worker disconnects its process': {
    worker(t) {
      watchOwnEnd(t);
      process.disconnect();
      t.log('afterwards', ownState());
    },
  },
  'worker kills itself': {
    worker(t) {
      watchOwnEnd(t);
      t.log('kill returns', cluster.worker.kill());
      t.log('afterwards', ownState());
    },
  },
  'worker destroys itself after disconnecting': {
    worker(t) {
      watchOwnEnd(t);
      process.once('disconnect', () => cluster.worker.destroy());
      cluster.worker.disconnect();
    },
  },
  'worker kills itself, exit code set': {
    worker(t) {
      watchOwnEnd(t);
      process.exitCode = 9;
      cluster.worker.kill();
    },
  },
  'worker stays alive after disconnecting': {
    async primary(t) {
      const worker = t.fork();
      await once(worker, 'disconnect');
      t.log('disconnected', stateOf(worker, 'disconnect'), worker.isDead());
      worker.process.kill('SIGTERM');
    },
    worker() {
      setInterval(() => {}, 1000);
      cluster.worker.disconnect();
    },
  },
  'process events': {
    async primary(t) {
      const worker = t.fork({ quiet: true });
      for (const event of ['spawn', 'disconnect', 'exit', 'close']) {
        worker.process.on(event, (...args) => t.to(`process ${event}`)(event, args));
      }
      await once(worker.process, 'close');
      const { exitCode, signalCode, killed, connected, channel, spawnfile } = worker.process;
      t.log('closed', { exitCode, signalCode, killed, connected, channel, spawnfile });
    },
    worker: () => process.exit(5),
  },
  'two at once': {
    async primary(t) {
      const workers = [t.fork(), t.fork()];
      t.log('ids', workers[1].id - workers[0].id, Object.keys(cluster.workers).length);
      await Promise.all(workers.map((worker) => once(worker, 'online')));
      workers[1].disconnect();
      await once(workers[1], 'exit');
      t.log(
        'left',
        Object.values(cluster.workers).map((worker) => worker === workers[0]),
      );
      workers[0].disconnect();
    },
  },
});
