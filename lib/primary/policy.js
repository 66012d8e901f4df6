'use strict';

// `cluster.schedulingPolicy`, and what `settings.schedulingPolicy` makes of it: who accepts connections, and which worker gets
// them. The program sets the first; the first setupPrimary freezes it. The setting, if there is one, decides instead, and may
// change at any time.

const errors = require('../errors');

/** @typedef {import('../../binding').NativePolicy} NativePolicy */
/** @typedef {{ policy: NativePolicy, serverPolicies: import('../../binding').NativeServerPolicy[] }} Description */

/**
 * The values of `cluster.schedulingPolicy`, and the policies that they stand for. Those above 2 are corral's own, and far from
 * any that Node may have one day.
 *
 * @type {Record<string, { number: number, policy: string }>}
 */
const CONSTANTS = {
  SCHED_NONE: { number: 1, policy: 'none' },
  SCHED_RR: { number: 2, policy: 'one-queue' },
  SCHED_LEAST: { number: 101, policy: 'least' },
  SCHED_REUSEPORT: { number: 103, policy: 'reuse-port' },
  SCHED_STICKY: { number: 102, policy: 'sticky' },
};

const DEFAULT = CONSTANTS.SCHED_RR.policy;

/** Node reads it, too, and knows `none` and `rr`. */
const POLICY_VARIABLE = 'NODE_CLUSTER_SCHED_POLICY';

class SchedulingPolicy {
  #cluster;
  #reactor;
  /** What the program has set at its first setupPrimary. */
  #frozen = DEFAULT;
  /** The policy by name that the environment sets, where it has no number of its own. @type {string | undefined} */
  #named;
  /** Whether the primary accepts connections of any server. */
  acceptsInPrimary = true;

  /**
   * @param {any} cluster
   * @param {import('./reactor').PrimaryReactor} reactor
   */
  constructor(cluster, reactor) {
    this.#cluster = cluster;
    this.#reactor = reactor;
    reactor.onAsked = (policy, question) => require('./own-policies').ask(cluster, reactor, policy, question);
    cluster.policyTable = (/** @type {any} */ options) =>
      new (require('./own-policies').PolicyTable)(reactor, options);
    for (const [name, { number }] of Object.entries(CONSTANTS)) cluster[name] ??= number;
    const named = process.env[POLICY_VARIABLE];
    if (named) this.#readVariable(named);
  }

  /** @param {string} name of a policy; Node's own are in force already */
  #readVariable(name) {
    if (name === 'rr' || name === 'none') return;
    const { isName } = require('./policy-setting');
    if (!isName(name)) {
      // Node says nothing of it.
      process.emitWarning(`${POLICY_VARIABLE}=${name} is no scheduling policy, and not in force`, {
        code: 'CORRAL_UNKNOWN_POLICY',
      });
      return;
    }
    const known = Object.values(CONSTANTS).find(({ policy }) => policy === name);
    if (known) this.#cluster.schedulingPolicy = known.number;
    else this.#named = name;
  }

  /** What the program has set holds from now on. Throws if that is no policy. */
  freeze() {
    const value = this.#cluster.schedulingPolicy;
    const known = Object.values(CONSTANTS).find(({ number }) => number === value);
    if (known === undefined) throw errors.badSchedulingPolicy(value, Object.keys(CONSTANTS));
    this.#frozen = known === CONSTANTS.SCHED_RR && this.#named !== undefined ? this.#named : known.policy;
  }

  /** @param {unknown} setting what `settings.schedulingPolicy` is, without fault; undefined if nothing is set */
  apply(setting) {
    const frozen = { name: this.#frozen };
    const { policy, serverPolicies } =
      setting === undefined
        ? { policy: frozen, serverPolicies: [] }
        : require('./policy-setting').describe(setting, frozen);
    this.acceptsInPrimary = [policy, ...serverPolicies.map((server) => server.policy)].some(
      ({ name }) => name !== 'none',
    );
    this.#reactor.configure({ policy, serverPolicies });
  }
}

/** @param {unknown} setting throws if `settings.schedulingPolicy` may not be that */
function checkPolicy(setting) {
  if (setting !== undefined) require('./policy-setting').describe(setting, { name: DEFAULT });
}

module.exports = { SchedulingPolicy, checkPolicy };
