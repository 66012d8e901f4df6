// The same import in an ES module. Nothing here runs: it compiles, or lint fails.

import 'corral/register';
import cluster from 'corral';

export const worker = cluster.fork();
export const native: boolean = cluster.native ?? false;
