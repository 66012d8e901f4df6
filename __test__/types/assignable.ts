// corral's types and Node's in each other's place. Nothing here runs: it compiles, or lint fails.

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
  Assignable<typeof node, Cluster>,
  Assignable<Node.Cluster, Cluster>,
  Assignable<Node.Worker, Worker>,
  Assignable<Node.ClusterSettings, ClusterSettings>,
  Assignable<Node.Address, Address>,
];

// A program that takes the one or the other, as values.
let either: Cluster = node;
either = corral;
let nodes: typeof node = corral;
nodes = either as typeof node;

export { either, nodes };

// A function written for the one, called with the other.
declare function superviseNode(cluster: Node.Cluster, onExit: (worker: Node.Worker) => void): void;
declare function superviseCorral(cluster: Cluster, onExit: (worker: Worker) => void): void;
superviseNode(corral, (worker: Worker) => worker.id);
superviseCorral(node, (worker: Node.Worker) => worker.id);
