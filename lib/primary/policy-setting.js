'use strict';

// What `settings.schedulingPolicy` may be: a policy for all servers, or a map from servers to policies.
//
// A policy is its name, or an object with its name and options, or one of the program's own (own-policies.js). To add one, give it a line in POLICIES, a variant in
// src/sched/choice.rs, and a name in src/binding/policies.rs.

const net = require('node:net');
const path = require('node:path');

const errors = require('../errors');
const { describeOwn, isOwn } = require('./own-policies');

/** @typedef {import('../../binding').NativePolicy} NativePolicy */
/** @typedef {import('../../binding').NativeServerPolicy} NativeServerPolicy */

/** Where the setting is, in errors. */
const SETTING = 'settings.schedulingPolicy';

/** The key of a map for servers that no other key has. */
const DEFAULT = 'default';

/**
 * By the names of the policies: the options of each, checked and as the core has them.
 *
 * @type {Record<string, (options: Record<string, unknown>, where: string) => object>}
 */
const POLICIES = {
  'one-queue': noOptions,
  'round-robin': noOptions,
  'reuse-port': noOptions,
  least: noOptions,
  none: noOptions,
  sticky: (options, where) => require('./sticky-options').describeSticky(options, where),
};

/** @param {string} name */
const isName = (name) => Object.hasOwn(POLICIES, name);

/**
 * @param {unknown} setting
 * @param {NativePolicy} fallback the policy of servers of which a map says nothing
 * @returns {{ policy: NativePolicy, serverPolicies: NativeServerPolicy[] }}
 */
function describe(setting, fallback) {
  if (!isMap(setting)) return { policy: describePolicy(setting, SETTING), serverPolicies: [] };
  const { [DEFAULT]: others, ...servers } = setting;
  const policy = others === undefined ? fallback : describePolicy(others, `${SETTING}.${DEFAULT}`);
  const serverPolicies = Object.entries(servers).map(([key, value]) => ({
    ...describeServer(key),
    policy: describePolicy(value, `${SETTING}[${JSON.stringify(key)}]`),
  }));
  // Those of an address before those of any.
  const isOfPort = (/** @type {NativeServerPolicy} */ { address, port }) =>
    address === undefined && port !== undefined;
  serverPolicies.sort((one, other) => Number(isOfPort(one)) - Number(isOfPort(other)));
  return { policy, serverPolicies };
}

/**
 * Whether the setting says something for each server. A policy has a name, and no server is called that.
 *
 * @param {unknown} setting
 * @returns {setting is Record<string, unknown>}
 */
function isMap(setting) {
  return typeof setting === 'object' && setting !== null && !Array.isArray(setting) && !('name' in setting);
}

/**
 * @param {unknown} policy its name, or an object with that
 * @param {string} where it is said, for errors
 * @returns {NativePolicy}
 */
function describePolicy(policy, where) {
  if (isOwn(policy)) return describeOwn(policy, where, isName);
  const { name, ...options } =
    typeof policy === 'object' && policy !== null
      ? /** @type {Record<string, unknown>} */ (policy)
      : { name: policy };
  if (typeof name !== 'string' || !isName(name)) {
    const names = Object.keys(POLICIES).map((known) => `'${known}'`);
    throw errors.invalidArgValue(
      where,
      policy,
      `must be one of: ${names.join(', ')}; or an object with such a name`,
    );
  }
  return { name, ...POLICIES[name](options, where) };
}

/**
 * @param {Record<string, unknown>} options
 * @param {string} where
 */
function noOptions(options, where) {
  const [unknown] = Object.keys(options);
  if (unknown !== undefined) {
    throw errors.invalidArgValue(`${where}.${unknown}`, options[unknown], 'is no option of this policy');
  }
  return {};
}

/**
 * @param {string} key of a map
 * @returns {{ port?: number, address?: string, path?: string }}
 */
function describeServer(key) {
  if (/^\d{1,5}$/.test(key) && Number(key) <= 65535) return { port: Number(key) };
  const [, bracketed, plain, port] = /^(?:\[(.*)\]|([^/]*)):(\d{1,5})$/.exec(key) ?? [];
  const address = bracketed ?? plain;
  const family = bracketed === undefined ? 4 : 6;
  if (port !== undefined && Number(port) <= 65535 && net.isIP(address) === family) {
    return { port: Number(port), address };
  }
  // As Node's worker has it when it asks for its server.
  if (key.includes('/') || key.startsWith('\0')) return { path: path.resolve(key) };
  throw errors.invalidArgValue(
    SETTING,
    key,
    "has a key that names no server. It must be a port, 'address:port', '[IPv6 address]:port', a path with a slash, or 'default'",
  );
}

module.exports = { describe, isName };
