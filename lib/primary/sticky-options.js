'use strict';

// The options of the policy 'sticky': by what clients are known that belong to a worker.

const errors = require('../errors');

/** @typedef {import('../../binding').NativeKey} NativeKey */

/** Most heads have less than 1 KiB, and no connection may have so much memory looked through again and again. */
const MAX_HEAD_SIZE = 64 * 1024;
const MIN_HEAD_SIZE = 128;
const MAX_DEADLINE = 60_000;
/** Nobody has more proxies in front. */
const MAX_FORWARDED = 64;

/** Names of headers, and of cookies (RFC 9110, section 5.6.2; RFC 6265, section 4.1.1). */
const TOKEN = /^[!#$%&'*+.^_`|~\w-]{1,128}$/;
/** Any characters that a query can have, decoded. */
const PARAMETER = /^\P{Cc}{1,128}$/u;

/** By how they are named in options. @type {Record<string, (value: unknown, where: string) => NativeKey>} */
const KEYS = {
  header: (value, where) => named('header', value, where, TOKEN),
  cookie: (value, where) => named('cookie', value, where, TOKEN),
  query: (value, where) => named('query', value, where, PARAMETER),
  forwarded: (value, where) => ({ kind: 'forwarded', place: integer(value, where, 1, MAX_FORWARDED) }),
};

/**
 * @param {Record<string, unknown>} options
 * @param {string} where they are, for errors
 */
function describeSticky(options, where) {
  const { by = 'ip', maxHeadSize, deadline, ...rest } = options;
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) {
    throw errors.invalidArgValue(`${where}.${unknown}`, rest[unknown], 'is no option of this policy');
  }
  return {
    by: describeKey(by, `${where}.by`),
    ...(maxHeadSize !== undefined && {
      maxHeadSize: integer(maxHeadSize, `${where}.maxHeadSize`, MIN_HEAD_SIZE, MAX_HEAD_SIZE),
    }),
    ...(deadline !== undefined && { deadline: integer(deadline, `${where}.deadline`, 1, MAX_DEADLINE) }),
  };
}

/**
 * @param {unknown} by
 * @param {string} where
 * @returns {NativeKey}
 */
function describeKey(by, where) {
  if (by === 'ip' || by === 'proxy') return { kind: by };
  const entries = typeof by === 'object' && by !== null ? Object.entries(by) : [];
  const [[kind, value] = ['']] = entries;
  if (entries.length !== 1 || !Object.hasOwn(KEYS, kind)) {
    const reason = "must be 'ip', 'proxy', { header }, { cookie }, { query } or { forwarded }";
    throw errors.invalidArgValue(where, by, reason);
  }
  return KEYS[kind](value, `${where}.${kind}`);
}

/**
 * @param {NativeKey['kind']} kind
 * @param {unknown} value
 * @param {string} where
 * @param {RegExp} allowed
 * @returns {NativeKey}
 */
function named(kind, value, where, allowed) {
  if (typeof value !== 'string') throw errors.invalidArgType(where, 'of type string', value);
  if (!allowed.test(value)) throw errors.invalidArgValue(where, value, `is no name of a ${kind}`);
  return { kind, name: value };
}

/**
 * @param {unknown} value
 * @param {string} where
 * @param {number} least
 * @param {number} most
 */
function integer(value, where, least, most) {
  if (typeof value !== 'number') throw errors.invalidArgType(where, 'of type number', value);
  if (!Number.isInteger(value)) throw errors.outOfRange(where, 'an integer', value);
  if (value < least || value > most) throw errors.outOfRange(where, `>= ${least} && <= ${most}`, value);
  return value;
}

module.exports = { describeSticky };
