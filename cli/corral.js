#!/usr/bin/env node
'use strict';

// The program `corral`.
//
//   commands.js      the commands, with their flags
//   settings.js      the settings of `run`: flags, keys of a config file and their checks
//   help.js          the help and the man page from these; schema.js: the JSON schema
//   arguments.js     words by a table of flags
//   config.js        flags and config files together; ecosystem.js: pm2's
//   run.js           `corral run`
//     cores.js       how many processors there are
//     output.js      what workers write
//     upgrade.js       another process takes this one's place; succession.js: this one takes another one's
//     pid-file.js      a file with its number
//     orphans.js       children that have no other parent
//     turns.js       reloads, one at a time
//     control.js     the control socket
//   bus.js           `corral bus`
//   client.js        the other commands; status-table.js: what `status` prints
//   sockets.js       where control sockets are
//   usage-error.js   what a user cannot have meant

const { parseArguments } = require('./arguments');
const { COMMANDS } = require('./commands');
const { UsageError, suggestion } = require('./usage-error');

// What a command needs is loaded for that one alone.

/** @param {string[]} words */
async function main([name, ...rest]) {
  if (name === undefined) throw new UsageError(`which command?\n\n${require('./help').generalHelp()}`);
  if (name === '--version' || name === '-v') return print(`${require('../package.json').version}\n`);
  if (name === '--help' || name === '-h' || (name === 'help' && rest.length === 0))
    return print(require('./help').generalHelp());
  const command = commandOf(name === 'help' ? rest[0] : name);
  if (name === 'help') return print(require('./help').commandHelp(command));
  const parsed = parseArguments(command, rest);
  if (parsed.flags.help) return print(require('./help').commandHelp(command));
  if (name === 'run') return require('./run').run(parsed);
  if (name === 'bus') return require('./bus').run(parsed);
  return require('./client').askProgram(name, parsed);
}

/** @param {string} name */
function commandOf(name) {
  const command = COMMANDS.find((one) => one.name === name);
  if (command !== undefined) return command;
  const names = [...COMMANDS.map((one) => one.name), 'help'];
  throw new UsageError(`there is no command ${name}${suggestion(name, names)}`);
}

/** @param {string} text */
function print(text) {
  process.stdout.write(text);
}

main(process.argv.slice(2)).catch((error) => {
  process.stderr.write(`corral: ${error?.message ?? error}\n`);
  process.exit(error instanceof UsageError ? 2 : 1);
});
