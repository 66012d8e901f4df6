'use strict';

// The words behind `corral COMMAND`, by the table of its flags.

const { parseArgs } = require('node:util');

const { UsageError, suggestion } = require('./usage-error');

/** @typedef {import('./commands').Command} Command */

/**
 * @typedef {object} Parsed
 * @property {Record<string, any>} flags a text, or a list of them, or true
 * @property {string[]} words what is no flag, with `hasProgram` from the program on whatever comes
 */

/**
 * @param {Command} command
 * @param {string[]} args
 * @returns {Parsed}
 */
function parseArguments({ name, flags, hasProgram }, args) {
  const options = Object.fromEntries(
    flags.map(({ flag, short, value, isList }) => [
      flag,
      {
        type: /** @type {'boolean' | 'string'} */ (value === undefined ? 'boolean' : 'string'),
        ...(short === undefined ? {} : { short }),
        ...(isList ? { multiple: true } : {}),
      },
    ]),
  );
  const { tokens } = parseArgs({ args, options, strict: false, allowPositionals: true, tokens: true });
  // Below zero, and no flags: `corral scale -1`.
  const isNumber = (/** @type {{ index: number }} */ { index }) => !hasProgram && /^-\d+$/.test(args[index]);
  const program = tokens.find(({ kind }) => kind === 'positional');
  const end = hasProgram && program !== undefined ? program.index : args.length;
  /** @type {Record<string, any>} */
  const given = {};
  for (const token of tokens) {
    if (token.kind !== 'option' || token.index >= end || isNumber(token)) continue;
    const known = flags.find(({ flag }) => flag === token.name);
    if (known === undefined) throw new UsageError(unknown(name, token, flags));
    if (known.value === undefined && token.value !== undefined)
      throw new UsageError(`${token.rawName} takes no value`);
    // A flag in the place of the value: Node would take it for that.
    const lacksValue = token.value === undefined || (!token.inlineValue && /^--?[a-z]/.test(token.value));
    if (known.value !== undefined && lacksValue)
      throw new UsageError(`${token.rawName} needs ${known.value}`);
    if (known.isList) given[known.flag] = [...(given[known.flag] ?? []), token.value];
    else given[known.flag] = token.value ?? true;
  }
  const words = tokens.flatMap((token, place) => {
    if (token.index >= end) return [];
    if (token.kind === 'positional') return [token.value];
    // One of several digits is as many tokens.
    return isNumber(token) && tokens[place - 1]?.index !== token.index ? [args[token.index]] : [];
  });
  return { flags: given, words: [...words, ...args.slice(end)] };
}

/**
 * @param {string} command
 * @param {{ name: string, rawName: string }} token
 * @param {import('./commands').Flag[]} flags
 */
function unknown(command, { name, rawName }, flags) {
  const names = flags.map(({ flag }) => flag);
  const near = suggestion(name, names).replace('mean ', 'mean --');
  return `corral ${command} has no flag ${rawName}${near}`;
}

module.exports = { parseArguments };
