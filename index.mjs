// Named imports for ES modules, as `node:cluster` has them: `import { fork, isPrimary } from 'corral'`. What changes
// while a program runs (`settings`, `schedulingPolicy`) is to be read from the default export. Of what only a primary
// or only a worker has, the other has undefined. index.d.mts declares the same names.

import cluster from './index.js';

export default cluster;
export const {
  Worker,
  adoptSocket,
  bindSession,
  broadcast,
  channel,
  disconnect,
  fork,
  handOver,
  isMaster,
  isPrimary,
  isWorker,
  native,
  observe,
  policyTable,
  profile,
  publishMetrics,
  respond,
  SCHED_LEAST,
  SCHED_NONE,
  SCHED_REUSEPORT,
  SCHED_RR,
  SCHED_STICKY,
  schedulingPolicy,
  settings,
  setupMaster,
  setupPrimary,
  stats,
  succeed,
  supervise,
  worker,
  workerById,
  workers,
} = cluster;
