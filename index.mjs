// Named imports for ES modules, as `node:cluster` has them: `import { fork, isPrimary } from 'corral'`. What changes
// while a program runs (`settings`, `workers`, `schedulingPolicy`) is to be read from the default export.

import cluster from './index.js';

export default cluster;
export const {
  Worker,
  disconnect,
  fork,
  isMaster,
  isPrimary,
  isWorker,
  native,
  SCHED_NONE,
  SCHED_RR,
  schedulingPolicy,
  settings,
  setupMaster,
  setupPrimary,
  worker,
  workers,
} = cluster;
