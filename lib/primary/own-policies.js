'use strict';

// Policies that a program makes: a function that is asked of each connection, and a table that says whose the connections of a
// client are. What they do not decide goes by one of corral's.

const net = require('node:net');

const errors = require('../errors');
const { tellOfFault } = require('./fault');

/** Policies that may decide what the program's does not. The first is the default. */
const FALLBACKS = ['one-queue', 'round-robin', 'least'];

const DEFAULT_DEADLINE_MS = 100;
const MAX_DEADLINE_MS = 60_000;

/** The numbers of the tables. @type {WeakMap<object, number>} */
const tables = new WeakMap();
/** The numbers by which policies are asked. @type {WeakMap<object, number>} */
const numbers = new WeakMap();
/** Those that are asked, by their numbers. @type {any[]} */
const asked = [];

/** Whose the connections of a client are. */
class PolicyTable {
  #reactor;
  #number;
  name = 'table';
  fallback;

  /**
   * @param {import('./reactor').PrimaryReactor} reactor
   * @param {{ fallback?: unknown }} [options]
   */
  constructor(reactor, { fallback } = {}) {
    this.fallback = checkFallback('options.fallback', fallback);
    this.#reactor = reactor;
    this.#number = reactor.makeTable();
    tables.set(this, this.#number);
  }

  /**
   * New connections of a client are for a worker from now on; for nobody in particular without one.
   *
   * @param {string} address of the client
   * @param {any} [worker] or its id
   */
  assign(address, worker) {
    if (typeof address !== 'string') throw errors.invalidArgType('address', 'of type string', address);
    if (net.isIP(address) === 0) throw errors.invalidArgValue('address', address, 'must be an IP address');
    const id = worker === null ? undefined : (worker?.id ?? worker);
    if (id !== undefined && !isId(id)) {
      throw errors.invalidArgType('worker', 'a worker, its id, or undefined', worker);
    }
    this.#reactor.assign(this.#number, address.split('%')[0], id);
  }
}

/** @param {unknown} id @returns {id is number} */
function isId(id) {
  return typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < 2 ** 32;
}

/**
 * Whether a policy is one of the program's own.
 *
 * @param {unknown} policy
 */
function isOwn(policy) {
  return (
    typeof policy === 'object' &&
    policy !== null &&
    (policy instanceof PolicyTable || typeof (/** @type {any} */ (policy).pick) === 'function')
  );
}

/**
 * @param {any} policy
 * @param {string} where it is said, for errors
 * @param {(name: string) => boolean} isTaken whether a policy of corral's has that name
 * @returns {import('../../binding').NativePolicy}
 */
function describeOwn(policy, where, isTaken) {
  const table = tables.get(policy);
  if (table !== undefined) return { name: policy.name, table, fallback: policy.fallback };
  const { name, pick, deadline = DEFAULT_DEADLINE_MS, fallback, ...rest } = policy;
  if (typeof name !== 'string' || name === '' || isTaken(name)) {
    throw errors.invalidArgValue(`${where}.name`, name, 'must be a name that no other policy has');
  }
  if (typeof pick !== 'function') throw errors.invalidArgType(`${where}.pick`, 'of type function', pick);
  if (typeof deadline !== 'number') {
    throw errors.invalidArgType(`${where}.deadline`, 'of type number', deadline);
  }
  if (!Number.isInteger(deadline) || deadline < 1 || deadline > MAX_DEADLINE_MS) {
    throw errors.outOfRange(`${where}.deadline`, `an integer >= 1 && <= ${MAX_DEADLINE_MS}`, deadline);
  }
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) {
    throw errors.invalidArgValue(`${where}.${unknown}`, rest[unknown], 'is no option of this policy');
  }
  let number = numbers.get(policy);
  if (number === undefined) {
    number = asked.push(policy) - 1;
    numbers.set(policy, number);
  }
  return { name, asked: number, deadline, fallback: checkFallback(`${where}.fallback`, fallback) };
}

/**
 * @param {string} where
 * @param {unknown} fallback
 * @returns {string}
 */
function checkFallback(where, fallback = FALLBACKS[0]) {
  if (FALLBACKS.includes(/** @type {string} */ (fallback))) return /** @type {string} */ (fallback);
  const known = FALLBACKS.map((name) => `'${name}'`).join(', ');
  throw errors.invalidArgValue(where, fallback, `must be one of: ${known}`);
}

/**
 * Asks a policy whose a connection is.
 *
 * @param {any} cluster
 * @param {import('./reactor').PrimaryReactor} reactor
 * @param {number} policyNumber
 * @param {{ number: number, workers: number[] }} question and what is known of the connection
 */
function ask(cluster, reactor, policyNumber, { number, workers: ids, ...connection }) {
  const policy = asked[policyNumber];
  const workers = ids.map((id) => reactor.channelOf(id)?.worker).filter((worker) => worker !== undefined);
  /** @param {unknown} answer */
  const settle = (answer) => {
    const id = /** @type {any} */ (answer)?.id ?? answer ?? undefined;
    if (id === undefined || ids.includes(id)) reactor.answer(number, id);
    else fail(errors.invalidReturnValue('a worker of the server, its id, or undefined', 'pick', answer));
  };
  // What it does not decide is decided without it.
  const fail = (/** @type {Error} */ error) => {
    reactor.answer(number, undefined);
    tellOfFault(cluster, error);
  };
  try {
    const answer = policy.pick(connection, workers);
    if (typeof answer?.then === 'function') Promise.resolve(answer).then(settle).catch(fail);
    else settle(answer);
  } catch (error) {
    fail(/** @type {Error} */ (error));
  }
}

module.exports = { PolicyTable, ask, describeOwn, isOwn };
