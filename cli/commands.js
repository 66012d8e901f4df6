'use strict';

// The commands, each with what the help and the man page say of it.

const { SETTINGS } = require('./settings');

/**
 * @typedef {object} Flag
 * @property {string} flag
 * @property {string} [short]
 * @property {string} [value] none if it takes none
 * @property {boolean} [isList]
 * @property {string} help
 * @property {string} [fallback]
 */

/**
 * @typedef {object} Command
 * @property {string} name
 * @property {string} synopsis
 * @property {string} summary
 * @property {string[]} text paragraphs
 * @property {Flag[]} flags
 * @property {boolean} [hasProgram] its first word is a program, and what follows is the program's
 */

/** @type {Flag} */
const HELP = { flag: 'help', short: 'h', help: 'Prints this.' };

/** @type {Flag[]} */
const FIND = [
  {
    flag: 'name',
    value: 'NAME',
    help: 'Which program.',
    fallback: 'that of this directory, or the only one that runs',
  },
  { flag: 'control', value: 'PATH', help: 'The same, by its socket.' },
];

/** @type {Flag} */
const JSON_FLAG = { flag: 'json', help: 'Prints the reply as JSON.' };

/** @type {Flag[]} */
const RUN_FLAGS = SETTINGS.flatMap(({ flag, ...rest }) => (flag === undefined ? [] : [{ ...rest, flag }]));

/** @type {Command[]} */
const COMMANDS = [
  {
    name: 'run',
    synopsis: 'corral run [flags] [program] [arguments]',
    summary: 'Runs a program on all processors, in the foreground.',
    text: [
      'The program is an ordinary server. It need not know of cluster or corral: each worker runs all of it, and they share what it listens at. It may be CommonJS, an ES module, or TypeScript where Node runs that.',
      'Settings are flags, or keys of a config file: corral.config.js, .mjs, .cjs or .json, or "corral" in package.json. Flags come first. An ecosystem file of pm2 is read as well.',
      'SIGTERM and SIGINT end the workers when they have answered what they have begun; once more, at once. SIGHUP reloads, SIGUSR2 replaces this process as `corral upgrade` does, SIGTTIN and SIGTTOU start one worker more and end one.',
    ],
    flags: [
      {
        flag: 'config',
        short: 'c',
        value: 'FILE',
        help: 'The config file.',
        fallback: 'the one that is here',
      },
      { flag: 'only', value: 'NAME', help: 'Which program of an ecosystem file that has several.' },
      ...RUN_FLAGS,
      HELP,
    ],
    hasProgram: true,
  },
  {
    name: 'status',
    synopsis: 'corral status [flags]',
    summary: 'Shows the workers.',
    text: [],
    flags: [...FIND, JSON_FLAG, HELP],
  },
  {
    name: 'reload',
    synopsis: 'corral reload [flags]',
    summary: 'Replaces all workers without losing a request.',
    text: [
      'The config file is read again: env, args, nodeArgs and workers take effect. Where a symbolic link to the program leads is looked up again. If a new worker is not ready in time or ends, those that have not been replaced go on, and the exit status is 1.',
    ],
    flags: [...FIND, JSON_FLAG, HELP],
  },
  {
    name: 'upgrade',
    synopsis: 'corral upgrade [flags]',
    summary: 'Replaces the process that runs, with its workers, without losing a request.',
    text: [
      "Another process is started with the same arguments, by the Node and the corral of this command. It gets the listening sockets of the old one, starts its workers, and serves when all of them are ready. Then the old one's finish what they have begun. If the new one fails, the old one goes on, and the exit status is 1. SIGUSR2 does the same by the Node and the corral of the old one, looked up again.",
    ],
    flags: [...FIND, JSON_FLAG, HELP],
  },
  {
    name: 'scale',
    synopsis: 'corral scale [flags] N|+N|-N',
    summary: 'Changes the number of workers.',
    text: [],
    flags: [...FIND, JSON_FLAG, HELP],
  },
  {
    name: 'stop',
    synopsis: 'corral stop [flags]',
    summary: 'Ends the workers when they have answered what they have begun, and then the program.',
    text: [],
    flags: [...FIND, { flag: 'now', help: 'At once.' }, JSON_FLAG, HELP],
  },
  {
    name: 'kill',
    synopsis: 'corral kill [flags] SLOT',
    summary: 'Kills a worker, by the number of its slot. Another one takes its place.',
    text: [],
    flags: [
      ...FIND,
      { flag: 'signal', value: 'SIGNAL', help: 'What it is sent.', fallback: 'SIGKILL' },
      JSON_FLAG,
      HELP,
    ],
  },
  {
    name: 'inspect',
    synopsis: 'corral inspect [flags] SLOT',
    summary:
      'Starts the inspector of a worker, by the number of its slot, and prints its address for a debugger.',
    text: [
      'The worker serves on. From then on it does not count as hung, whoever stops it. The inspector listens at the loopback interface alone, at any port, until the worker ends.',
    ],
    flags: [...FIND, JSON_FLAG, HELP],
  },
  {
    name: 'logs',
    synopsis: 'corral logs [flags]',
    summary: 'Shows the last lines of the workers.',
    text: [],
    flags: [
      ...FIND,
      { flag: 'follow', short: 'f', help: 'Goes on with those that come.' },
      { flag: 'lines', short: 'n', value: 'N', help: 'How many.', fallback: '100' },
      { flag: 'json', help: 'Prints each line as JSON.' },
      HELP,
    ],
  },
  {
    name: 'bus',
    synopsis:
      'corral bus [flags] URL ls | stats [QUEUE...] | peek QUEUE | send QUEUE MESSAGE | tail TOPIC | move QUEUE QUEUE',
    summary: 'Looks at the queues and topics of corral/bus, and takes part.',
    text: [
      'The URL is that of the bus: file:PATH, redis://HOST and the like. ls names the queues, stats counts what is in them, peek shows what comes next.',
      'send sends a message, which is JSON; - for one in each line of the standard input. tail prints what is published on a topic, or on all that match a pattern, until it is ended. move moves what waits in a queue to another one, as dead letters back to where they were: each in a transaction.',
    ],
    flags: [
      { flag: 'lines', short: 'n', value: 'N', help: 'How many to show or to move.', fallback: '10, or all' },
      { flag: 'text', help: 'The message is a text, and no JSON.' },
      { flag: 'delay', value: 'MS', help: 'When it is to come, in milliseconds from now.' },
      { flag: 'priority', value: 'N', help: 'From 0 to 255; the larger first.' },
      { flag: 'group', value: 'NAME', help: 'Messages of a group are worked on one after the other.' },
      { flag: 'id', value: 'ID', help: 'A second message with it is not kept.' },
      JSON_FLAG,
      HELP,
    ],
  },
];

module.exports = { COMMANDS };
