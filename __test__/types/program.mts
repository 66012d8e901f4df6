// The same import in an ES module. Nothing here runs: it compiles, or lint fails.

import 'corral/register';
import cluster, { broadcast, type Peer, respond, stats, Worker, workerById } from 'corral';

export const worker = cluster.fork();
export const native: boolean = cluster.native;
export const other: Peer = workerById(2);
export const { servers } = stats();
export const isOne: boolean = worker instanceof Worker;
export const named: Worker = worker;
broadcast('to all');
respond((message) => message);
