'use strict';

// Values as they stand in a trace: JSON that keeps the types apart, without what differs from run to run.

const { types } = require('node:util');

/** Placeholders by value. @type {Map<string | number, string>} */
const aliases = new Map();

/** Properties whose numbers are different in each run, and the kind of placeholder that they get. */
const VARYING = { port: 'port', pid: 'pid', fd: 'fd', remotePort: 'port', localPort: 'port' };

let ports = 0;

/**
 * Lets a value appear under a name, also where it is part of a text.
 *
 * @template {string | number | undefined} T
 * @param {T} value
 * @param {string} name
 * @returns {T}
 */
function alias(value, name) {
  if (value !== undefined && value !== 0 && value !== '' && value !== null) aliases.set(value, `<${name}>`);
  return value;
}

/** Forgets the ports: the system gives them out again, and a number is to mean one port only. */
function forgetPorts() {
  ports = 0;
  for (const value of aliases.keys()) {
    if (typeof value === 'number') aliases.delete(value);
  }
}

/** @param {string} text */
function showText(text) {
  let result = text;
  for (const [value, name] of aliases) {
    if (typeof value === 'string') result = result.replaceAll(value, name);
    else result = result.replace(new RegExp(`(?<![\\w.])${value}(?![\\w])`, 'g'), name);
  }
  return result;
}

/**
 * @param {number} value
 * @param {string} [property] the name that it stands under
 */
function showNumber(value, property = '') {
  if (Number.isNaN(value) || !Number.isFinite(value) || Object.is(value, -0)) {
    return `$${Object.is(value, -0) ? '-0' : value}`;
  }
  const kind = Object.hasOwn(VARYING, property) ? VARYING[property] : undefined;
  const known = value > 1000 && aliases.get(value);
  if (known) return known;
  if (kind === 'port' && value > 0) return showPort(value);
  if (kind && value > 0) return `<${kind}>`;
  return value;
}

/** A port that nobody has named: numbered as they come. @param {number} value */
function showPort(value) {
  if (!aliases.has(value)) aliases.set(value, `<port ${++ports}>`);
  return aliases.get(value);
}

/** @param {Error & Record<string, unknown>} error */
function showError(error) {
  const result = { $error: error.constructor.name, message: '' };
  for (const key of Object.keys(error).sort()) result[key] = show(error[key], key);
  if (error.code !== undefined) result.code = error.code;
  // After its properties: a port among them has its name by then.
  result.message = showText(error.message);
  return result;
}

/** Objects of Node that are only named. */
const NAMED =
  /^(Worker|ChildProcess|Socket|Server|TCP|Pipe|UDP|TTY|process|Control|EventEmitter|Agent|WriteStream)$/;

/**
 * @param {unknown} value
 * @param {string} [property]
 * @returns {unknown} what JSON can hold
 */
function show(value, property) {
  switch (typeof value) {
    case 'undefined':
      return '$undefined';
    case 'string':
      return showText(value);
    case 'number':
      return showNumber(value, property);
    case 'bigint':
      return `$bigint ${value}`;
    case 'symbol':
      return `$${String(value)}`;
    case 'function':
      return `$function ${value.name}`;
    case 'boolean':
      return value;
    default:
      return value === null ? null : showObject(/** @type {any} */ (value));
  }
}

/** @param {any} value */
function showObject(value) {
  if (Array.isArray(value)) return value.map((element) => show(element));
  if (types.isNativeError(value)) return showError(/** @type {any} */ (value));
  const name = value.constructor?.name ?? 'null prototype';
  if (NAMED.test(name)) return name === 'Worker' ? `$Worker ${value.id}` : `$${name}`;
  if (types.isDate(value)) return { $Date: value.getTime() };
  if (types.isRegExp(value)) return { $RegExp: String(value) };
  if (types.isMap(value)) return { $Map: [...value].map(show) };
  if (types.isSet(value)) return { $Set: [...value].map((element) => show(element)) };
  if (types.isAnyArrayBuffer(value)) return { [`$${name}`]: Buffer.from(value).toString('hex') };
  if (ArrayBuffer.isView(value)) {
    return { [`$${name}`]: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex') };
  }
  if (types.isBoxedPrimitive(value)) return { [`$${name}`]: show(value.valueOf()) };
  // Without a prototype, so that a property called __proto__ is one.
  const result = Object.create(null);
  if (name !== 'Object' && name !== 'null prototype') result.$class = name;
  for (const key of Object.keys(value)) result[key] = show(value[key], key);
  return result;
}

module.exports = { alias, forgetPorts, show };
