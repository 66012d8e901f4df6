'use strict';

// Primary and workers of the floods bench; the same file for all of them, and on both sides.

const { loadCluster } = require('../lib/side');
const { serve } = require('../lib/remote');
const { Watch, flood } = require('./flood-traffic');

const cluster = /** @type {any} */ (loadCluster());
const ROLE = 'CORRAL_BENCH_ROLE';

/** @param {string} role */
const fork = (role) => cluster.fork({ [ROLE]: role });

/** @param {any} worker @param {string} name */
const answer = (worker, name) =>
  new Promise((resolve) => {
    worker.on('message', (/** @type {any} */ message) => {
      if (message[name] !== undefined) resolve(message[name]);
    });
  });

function primary() {
  /** @type {any[]} */
  let workers = [];
  serve(
    {
      /** Workers that send to their primary. @param {{ senders: number, seconds: number }} test */
      async primary({ senders, seconds }) {
        const watch = new Watch();
        workers = Array.from({ length: senders }, () => fork('sender'));
        await Promise.all(workers.map((worker) => answer(worker, 'x')));
        for (const worker of workers) worker.on('message', () => watch.item());
        return watch.run(seconds);
      },
      /** A primary that sends to its worker. @param {{ seconds: number }} test */
      async worker({ seconds }) {
        workers = [fork('receiver')];
        const [worker] = workers;
        await answer(worker, 'ready');
        const result = answer(worker, 'result');
        worker.send({ seconds });
        flood(worker);
        return result;
      },
      /** Workers that send to another. @param {{ senders: number, seconds: number }} test */
      async peers({ senders, seconds }) {
        const target = fork('receiver');
        workers = [target];
        await answer(target, 'ready');
        const others = Array.from({ length: senders }, () => fork('peer'));
        workers.push(...others);
        await Promise.all(others.map((worker) => answer(worker, 'ready')));
        const result = answer(target, 'result');
        target.send({ seconds });
        return result;
      },
    },
    () => {
      for (const worker of workers) worker.process.kill('SIGKILL');
    },
  );
}

function worker() {
  const watch = new Watch();
  const process_ = /** @type {any} */ (process);
  process.on('SIGINT', () => {});
  const onItem = () => watch.item();
  switch (process.env[ROLE]) {
    case 'sender':
      flood(process_);
      break;
    case 'peer':
      process_.send({ ready: true });
      flood(cluster.workerById(1));
      break;
    case 'receiver':
      cluster.on('message', onItem);
      process.on('message', async (/** @type {any} */ message) => {
        if (message.seconds === undefined) watch.item();
        else process_.send({ result: await watch.run(message.seconds) });
      });
      process_.send({ ready: true });
      break;
  }
}

if (cluster.isPrimary) primary();
else worker();
