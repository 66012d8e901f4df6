// corral's types in the place of Node's. Not the other way round: what Node declares has none of corral's additions. Nothing
// here runs: it compiles, or lint fails.

import type * as Node from 'node:cluster';
import node from 'node:cluster';
import type { Address, Cluster, ClusterSettings, Worker } from 'corral';
import corral from 'corral';

/** Fails to compile unless a `From` can be used wherever a `To` is wanted. */
type Assignable<From extends To, To> = From;

export type CorralForNode = [
  Assignable<typeof corral, typeof node>,
  Assignable<Cluster, Node.Cluster>,
  Assignable<Worker, Node.Worker>,
  Assignable<ClusterSettings, Node.ClusterSettings>,
  Assignable<Address, Node.Address>,
];

export type NodeForCorral = [
  Assignable<Node.ClusterSettings, ClusterSettings>,
  Assignable<Node.Address, Address>,
];

// A program that takes the one or the other, as values.
let either: Node.Cluster = node;
either = corral;
let nodes: typeof node = corral;
nodes = either as typeof node;

export { either, nodes };

// Functions written for Node's, called with corral's.
declare function supervise(cluster: Node.Cluster, onExit: (worker: Node.Worker) => void): void;
declare function watch(worker: Node.Worker): void;
supervise(corral, (worker) => worker.id);
watch(corral.fork());
declare const cluster: Cluster;
supervise(cluster, watch);
declare const worker: Worker;
watch(worker);
