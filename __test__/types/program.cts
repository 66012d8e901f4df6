// The same import without interop. Nothing here runs: it compiles, or lint fails.

import cluster = require('corral');

export function start(settings: cluster.ClusterSettings): cluster.Worker {
  cluster.setupPrimary(settings);
  return cluster.fork();
}
