'use strict';

// `cluster.schedulingPolicy`: who accepts connections. It is the program's until the first setupPrimary, and cannot change after that.

const errors = require('../errors');

const SCHED_NONE = 1;
const SCHED_RR = 2;

/** Of a cluster whose program says nothing. */
function initialPolicy() {
  return process.env.NODE_CLUSTER_SCHED_POLICY === 'none' ? SCHED_NONE : SCHED_RR;
}

class SchedulingPolicy {
  #cluster;
  #reactor;

  /**
   * @param {any} cluster
   * @param {import('./reactor').PrimaryReactor} reactor
   */
  constructor(cluster, reactor) {
    this.#cluster = cluster;
    this.#reactor = reactor;
  }

  /** From now on it is what the program has set. Throws if that is none. */
  freeze() {
    const policy = this.#cluster.schedulingPolicy;
    if (policy !== SCHED_NONE && policy !== SCHED_RR) throw errors.badSchedulingPolicy(policy);
    this.#reactor.configure({ roundRobin: policy === SCHED_RR });
  }

  /** Whether the primary accepts, and gives the connections to workers. */
  get isRoundRobin() {
    return this.#cluster.schedulingPolicy === SCHED_RR;
  }
}

module.exports = { SCHED_NONE, SCHED_RR, SchedulingPolicy, initialPolicy };
