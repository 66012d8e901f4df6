'use strict';

// What can be set for `corral run`, each once: the flags, the keys of a config file, their checks, the help, the man page and the JSON schema
// follow from this table.

const os = require('node:os');

/**
 * @typedef {object} Setting
 * @property {string} key in a config file
 * @property {string} [flag] on the command line; none if it has no flag
 * @property {string} [short]
 * @property {string} [value] what stands behind the flag in the help
 * @property {string} type
 * @property {(string | number)[]} [choices]
 * @property {number} [min]
 * @property {number} [max]
 * @property {boolean} [hasNever] of a duration: 0 may be there, too
 * @property {boolean} [isList] the flag may be there more than once
 * @property {string} help
 * @property {string} [fallback] what counts otherwise, in words
 */

const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const SIZES = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };
const LONGEST = 2 ** 31 - 1;
const MOST_WORKERS = 4096;

/** @type {Record<string, (setting: Setting) => string>} what is said of the values that may be, behind a type's `what` */
const RANGES = {
  count: ({ min, max }) => (min === undefined ? '' : ` from ${min} to ${max}`),
  duration: ({ min = 0, hasNever = false }) =>
    ` ${hasNever ? '0, or ' : ''}from ${min === 0 ? '0' : `${min}ms`} to 24d`,
};

/**
 * How a value is read: what is not one gives undefined. `schema` is its part of the JSON schema, and `what` names it in errors.
 * @type {Record<string, { what: string, schema: (setting: Setting) => object, read: (value: any, setting: Setting) => any }>}
 */
const TYPES = {
  text: {
    what: 'a text',
    schema: () => ({ type: 'string', minLength: 1 }),
    read: (value) => (typeof value === 'string' && value !== '' ? value : undefined),
  },
  count: {
    what: 'a whole number',
    schema: ({ min, max }) => ({ type: 'integer', minimum: min, maximum: max }),
    read: (value, { min = 0, max = LONGEST }) => readCount(value, min, max),
  },
  workers: {
    what: `a whole number from 1 to ${MOST_WORKERS}, or 'max'`,
    schema: () => ({ anyOf: [{ type: 'integer', minimum: 1, maximum: MOST_WORKERS }, { const: 'max' }] }),
    read: (value) => (value === 'max' ? value : readCount(value, 1, MOST_WORKERS)),
  },
  choice: {
    what: 'one of them',
    schema: ({ choices }) => ({ enum: choices }),
    read: (value, { choices = [] }) => choices.find((choice) => `${choice}` === `${value}`),
  },
  duration: {
    what: 'milliseconds, or a number with a unit (500ms, 30s, 5m, 12h, 1d),',
    schema: ({ min = 0, hasNever }) => ({
      anyOf: [
        ...(hasNever ? [{ const: 0 }] : []),
        { type: 'integer', minimum: min, maximum: LONGEST },
        { type: 'string', pattern: '^\\d+(\\.\\d+)?(ms|s|m|h|d)?$' },
      ],
    }),
    read: (value, { min = 0, hasNever = false }) => {
      const [, number, unit = 'ms'] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(`${value}`) ?? [];
      const milliseconds = Math.round(Number(number) * UNITS[/** @type {keyof typeof UNITS} */ (unit)]);
      if (hasNever && milliseconds === 0) return 0;
      return milliseconds >= min && milliseconds <= LONGEST ? milliseconds : undefined;
    },
  },
  size: {
    what: 'bytes, or a number with a unit (500K, 300M, 2G)',
    schema: () => ({
      anyOf: [
        { type: 'integer', minimum: 1 },
        { type: 'string', pattern: '^\\d+(\\.\\d+)?([KMG]B?)?$' },
      ],
    }),
    read: (value) => {
      const [, number, unit = ''] = /^(\d+(?:\.\d+)?)(?:([KMG])B?)?$/i.exec(`${value}`) ?? [];
      const bytes = Math.round(
        Number(number) * SIZES[/** @type {keyof typeof SIZES} */ (unit.toUpperCase())],
      );
      return bytes > 0 ? bytes : undefined;
    },
  },
  cron: {
    what: "five fields as cron has them ('0 4 * * *')",
    schema: () => ({ type: 'string' }),
    read: (value) => {
      try {
        require('../lib/supervisor/cron').parseCron(`${value}`);
        return value;
      } catch {
        // Whoever has asked says what it must be.
        return undefined;
      }
    },
  },
  signal: {
    what: 'the name of a signal',
    schema: () => ({ type: 'string', pattern: '^SIG[A-Z0-9]+$' }),
    read: (value) => (Object.hasOwn(os.constants.signals, value) ? value : undefined),
  },
  ready: {
    what: "'listening', 'message', 'online' or a URL",
    schema: () => ({
      anyOf: [{ enum: ['listening', 'message', 'online'] }, { type: 'string', format: 'uri' }],
    }),
    read: (value) =>
      ['listening', 'message', 'online'].includes(value) || /^https?:/.test(value) ? value : undefined,
  },
  texts: {
    what: 'a list of texts',
    schema: () => ({ type: 'array', items: { type: 'string' } }),
    read: (value) =>
      Array.isArray(value) && value.every((one) => typeof one === 'string') ? value : undefined,
  },
  environment: {
    what: 'variables, each with a text',
    schema: () => ({ type: 'object', additionalProperties: { type: ['string', 'number', 'boolean'] } }),
    read: (value) => {
      const pairs = Array.isArray(value) ? value.map(pairOf) : entriesOf(value);
      return pairs?.every((pair) => pair !== undefined) ? Object.fromEntries(pairs) : undefined;
    },
  },
};

/**
 * @param {any} value
 * @param {number} min
 * @param {number} max
 */
function readCount(value, min, max) {
  const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
  return Number.isInteger(number) && number >= min && number <= max ? number : undefined;
}

/** @param {string} text of a flag @returns {[string, string] | undefined} */
function pairOf(text) {
  const [, name, value] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
  return name === undefined ? undefined : [name, value];
}

/** @param {any} object @returns {([string, string] | undefined)[] | undefined} */
function entriesOf(object) {
  if (object === null || typeof object !== 'object') return undefined;
  return Object.entries(object).map(([name, value]) =>
    ['string', 'number', 'boolean'].includes(typeof value) ? [name, `${value}`] : undefined,
  );
}

/** @type {Setting[]} */
const SETTINGS = [
  { key: 'script', type: 'text', help: 'The program that the workers run.' },
  { key: 'args', type: 'texts', help: "The program's arguments." },
  {
    key: 'name',
    flag: 'name',
    value: 'NAME',
    type: 'text',
    help: 'What other commands know the program by.',
    fallback: 'the name in package.json, or that of the directory',
  },
  {
    key: 'workers',
    flag: 'workers',
    short: 'w',
    value: 'N',
    type: 'workers',
    help: "How many workers there are, or 'max': as many as the container has processors.",
    fallback: 'max',
  },
  { key: 'cwd', flag: 'cwd', value: 'DIR', type: 'text', help: 'Where the workers run.', fallback: 'here' },
  {
    key: 'env',
    flag: 'env',
    short: 'e',
    value: 'NAME=TEXT',
    type: 'environment',
    isList: true,
    help: 'A variable for the workers, beside those of this environment.',
  },
  {
    key: 'nodeArgs',
    flag: 'node-arg',
    value: 'ARG',
    type: 'texts',
    isList: true,
    help: 'An argument for Node in the workers, as --node-arg=--enable-source-maps.',
  },
  {
    key: 'ready',
    flag: 'ready',
    value: 'WHAT',
    type: 'ready',
    help: "When a worker is ready: 'listening' (at as many addresses as the one before), 'message' (process.send('ready')), 'online', or a URL of its own that answers.",
    fallback: 'listening',
  },
  {
    key: 'readyTimeout',
    flag: 'ready-timeout',
    value: 'TIME',
    type: 'duration',
    min: 1,
    help: 'Within which a worker must be ready.',
    fallback: '60s',
  },
  {
    key: 'surge',
    flag: 'surge',
    value: '0|1',
    type: 'choice',
    choices: [0, 1],
    help: 'How many workers more than usual there may be in a reload. With 0 the old one leaves first.',
    fallback: '1',
  },
  {
    key: 'minUptime',
    flag: 'min-uptime',
    value: 'TIME',
    type: 'duration',
    help: 'How long a new worker is watched before the old one leaves.',
    fallback: '1s',
  },
  {
    key: 'drain',
    flag: 'drain',
    value: 'TIME',
    type: 'duration',
    help: 'How long a worker that leaves has for what it has begun.',
    fallback: '30s',
  },
  {
    key: 'idle',
    flag: 'idle',
    value: 'TIME',
    type: 'duration',
    help: 'How long its kept connections stay open for their next request.',
    fallback: '5s',
  },
  {
    key: 'killTimeout',
    flag: 'kill-timeout',
    value: 'TIME',
    type: 'duration',
    help: 'How long after SIGTERM a worker gets SIGKILL.',
    fallback: '30s',
  },
  {
    key: 'maxMemory',
    flag: 'max-memory',
    value: 'SIZE',
    type: 'size',
    help: 'A worker with more resident memory is replaced when it is its turn.',
  },
  {
    key: 'hardMemory',
    flag: 'hard-memory',
    value: 'SIZE',
    type: 'size',
    help: 'A worker with more is replaced at once.',
  },
  {
    key: 'maxAge',
    flag: 'max-age',
    value: 'TIME',
    type: 'duration',
    min: 1,
    help: 'An older worker is replaced.',
  },
  {
    key: 'maxConnections',
    flag: 'max-connections',
    value: 'N',
    type: 'count',
    min: 1,
    max: Number.MAX_SAFE_INTEGER,
    help: 'A worker that has had more connections is replaced.',
  },
  {
    key: 'recycleAt',
    flag: 'recycle-at',
    value: 'CRON',
    type: 'cron',
    help: "At these times all workers are replaced, one after the other: minute, hour, day, month and weekday, as '0 4 * * *'.",
  },
  {
    key: 'hungAfter',
    flag: 'hung-after',
    value: 'TIME',
    type: 'duration',
    min: 100,
    hasNever: true,
    help: 'A worker whose event loop has not turned for so long is ended. 0 for never.',
    fallback: '30s',
  },
  {
    key: 'hungSignal',
    flag: 'hung-signal',
    value: 'SIGNAL',
    type: 'signal',
    help: 'What it is sent, SIGKILL a second later.',
    fallback: 'SIGTERM',
  },
  {
    key: 'keepAlive',
    flag: 'keep-alive',
    value: 'stay|balance',
    type: 'choice',
    choices: ['stay', 'balance'],
    help: 'Whether requests on kept connections go to idle workers.',
    fallback: 'stay',
  },
  {
    key: 'policy',
    flag: 'policy',
    value: 'POLICY',
    type: 'choice',
    choices: ['one-queue', 'round-robin', 'least', 'sticky', 'reuse-port', 'none'],
    help: 'Which worker gets a connection: one-queue, round-robin, least, sticky, reuse-port or none.',
    fallback: 'one-queue',
  },
  {
    key: 'log',
    flag: 'log',
    value: 'text|json',
    type: 'choice',
    choices: ['text', 'json'],
    help: 'How lines of the workers are written: behind the slot, or as JSON.',
    fallback: 'text',
  },
  {
    key: 'control',
    flag: 'control',
    value: 'PATH',
    type: 'text',
    help: "The socket by which other commands reach the program, or 'none'.",
    fallback: "NAME.sock in a directory of the user's",
  },
  {
    key: 'pidFile',
    flag: 'pid-file',
    value: 'PATH',
    type: 'text',
    help: 'A file with the number of this process. After an upgrade it has that of the new one.',
  },
];

module.exports = { MOST_WORKERS, RANGES, SETTINGS, TYPES };
