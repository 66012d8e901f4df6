'use strict';

// `cluster.schedulingPolicy`: which process accepts connections. The program sets it; the first setupPrimary freezes it.

const errors = require('../errors');

const SCHED_NONE = 1;
const SCHED_RR = 2;

/** The policy of a cluster whose program sets none. */
function initialPolicy() {
  return process.env.NODE_CLUSTER_SCHED_POLICY === 'none' ? SCHED_NONE : SCHED_RR;
}

class SchedulingPolicy {
  #cluster;
  #reactor;
  /** The policy in force, once it is frozen. @type {unknown} */
  #frozen;

  /**
   * @param {any} cluster
   * @param {import('./reactor').PrimaryReactor} reactor
   */
  constructor(cluster, reactor) {
    this.#cluster = cluster;
    this.#reactor = reactor;
  }

  /** What the program has set holds from now on. Throws if that is no policy. */
  freeze() {
    const policy = this.#cluster.schedulingPolicy;
    if (policy !== SCHED_NONE && policy !== SCHED_RR) throw errors.badSchedulingPolicy(policy);
    this.#frozen = policy;
    this.#reactor.configure({ roundRobin: policy === SCHED_RR });
  }

  /** Whether the primary accepts, and gives the connections to workers. */
  get isRoundRobin() {
    return this.#frozen === SCHED_RR;
  }
}

module.exports = { SCHED_NONE, SCHED_RR, SchedulingPolicy, initialPolicy };
