'use strict';

// The scheduling policy: where it comes from, when it is frozen, and what a bad one does.

const net = require('node:net');
const { cluster, run, runAlone } = require('../scenario.js');

/** What a worker's server listens with tells which policy is in force. */
function forkAndTell(label) {
  return new Promise((resolve) => {
    const worker = cluster.fork();
    worker.on('message', (kind) => console.log(label, kind));
    worker.on('exit', resolve);
  });
}

/** @param {() => void} change */
function attempt(change) {
  try {
    change();
    console.log('no error');
  } catch (error) {
    console.log(error.name, error.code, error.message.split('\n')[0]);
  }
}

const primaries = {
  async default() {
    console.log(cluster.schedulingPolicy);
    await forkAndTell('default');
  },
  async assigned() {
    cluster.schedulingPolicy = cluster.SCHED_NONE;
    await forkAndTell('none');
    cluster.schedulingPolicy = cluster.SCHED_RR;
    console.log(cluster.schedulingPolicy);
    await forkAndTell('still none');
  },
  async 'frozen by setupPrimary'() {
    cluster.setupPrimary();
    cluster.schedulingPolicy = cluster.SCHED_NONE;
    await forkAndTell('still round robin');
  },
  bad() {
    for (const policy of [5, 0, null, undefined, 'rr', '2', true]) {
      cluster.schedulingPolicy = policy;
      attempt(() => cluster.setupPrimary());
    }
  },
  async 'bad, then frozen'() {
    cluster.schedulingPolicy = 'nonsense';
    attempt(() => cluster.fork());
    console.log(Object.keys(cluster.workers).length, cluster.settings.silent);
    cluster.schedulingPolicy = cluster.SCHED_RR;
    attempt(() => cluster.setupPrimary());
    console.log('end');
  },
};

if (cluster.isWorker && process.env.PARITY_ALONE) {
  const server = net.createServer().listen(0, '127.0.0.1', () => {
    process.send(server._handle.constructor.name, () => process.disconnect());
  });
} else if (process.env.PARITY_ALONE) {
  primaries[process.env.PARITY_ALONE]();
} else {
  const values = ['rr', 'none', 'nonsense', '', 'RR', '1'];
  /** @param {string} name @param {NodeJS.ProcessEnv} [env] @returns {[string, { primary: (t: any) => Promise<void> }]} */
  const alone = (name, env) => [
    env === undefined ? name : `${name}, with '${env.NODE_CLUSTER_SCHED_POLICY}' in the environment`,
    { primary: (t) => runAlone(t, name, { env }) },
  ];
  // Each with a time of its own: all together they are some thirty processes.
  run(
    Object.fromEntries([
      ...Object.keys(primaries).map((name) => alone(name)),
      ...values.map((value) => alone('default', { NODE_CLUSTER_SCHED_POLICY: value })),
      alone('assigned', { NODE_CLUSTER_SCHED_POLICY: 'rr' }),
    ]),
  );
}
