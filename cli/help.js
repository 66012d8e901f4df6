'use strict';

// The help and the man page, from the tables of commands and settings.

const { version } = require('../package.json');
const { COMMANDS } = require('./commands');

/** @typedef {import('./commands').Command} Command */
/** @typedef {import('./commands').Flag} Flag */

const WIDTH = 80;
const EXIT_STATUS = [
  ['0', 'It has done what it was asked.'],
  ['1', 'It has not, and says why.'],
  ['2', 'It was asked for something that there is not: an unknown flag, key or file.'],
];

/** @param {Flag} flag */
function nameOf({ flag, short, value }) {
  const names = `${short === undefined ? '' : `-${short}, `}--${flag}`;
  return value === undefined ? names : `${names} ${value}`;
}

/** @param {Flag} flag */
function aboutOf({ help, fallback, isList }) {
  const more = isList ? ' May be given more than once.' : '';
  return `${help}${more}${fallback === undefined ? '' : ` [${fallback}]`}`;
}

/**
 * @param {string} text
 * @param {number} indent of all lines
 * @returns {string} in lines
 */
function wrap(text, indent) {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines[lines.length - 1];
    if (last !== '' && indent + last.length + 1 + word.length > WIDTH) lines.push(word);
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
  }
  return lines.map((line) => `${' '.repeat(indent)}${line}`).join('\n');
}

/**
 * @param {[string, string][]} rows
 * @returns {string} in two columns
 */
function columns(rows) {
  const width = Math.max(...rows.map(([left]) => left.length)) + 4;
  return rows.map(([left, right]) => `  ${left}`.padEnd(width) + wrap(right, width).trimStart()).join('\n');
}

/** @returns {string} */
function generalHelp() {
  const rows = COMMANDS.map(({ name, summary }) => /** @type {[string, string]} */ ([name, summary]));
  return `corral ${version}: Node programs on all processors

Usage: corral COMMAND [flags]

${columns(rows)}

corral COMMAND --help says more of each.
`;
}

/** @param {Command} command @returns {string} */
function commandHelp({ synopsis, summary, text, flags }) {
  const paragraphs = [summary, ...text].map((paragraph) => wrap(paragraph, 0)).join('\n\n');
  const rows = flags.map((flag) => /** @type {[string, string]} */ ([nameOf(flag), aboutOf(flag)]));
  return `Usage: ${synopsis}\n\n${paragraphs}\n\n${columns(rows)}\n`;
}

/** @param {string} text as roff has it */
function toRoff(text) {
  return text
    .replace(/\\/g, '\\e')
    .replace(/-/g, '\\-')
    .replace(/^([.'])/gm, '\\&$1');
}

/** @returns {string} in roff */
function manPage() {
  const commands = COMMANDS.flatMap(({ synopsis, summary, text, flags }) => [
    `.SS ${toRoff(synopsis)}`,
    ...[summary, ...text].flatMap((paragraph) => [toRoff(paragraph), '.PP']).slice(0, -1),
    ...flags.flatMap((flag) => ['.TP', `.B ${toRoff(nameOf(flag))}`, toRoff(aboutOf(flag))]),
  ]);
  const statuses = EXIT_STATUS.flatMap(([status, about]) => ['.TP', `.B ${status}`, toRoff(about)]);
  return `${[
    `.TH CORRAL 1 "" "corral ${version}"`,
    '.SH NAME',
    'corral \\- Node programs on all processors',
    '.SH SYNOPSIS',
    '.B corral',
    'COMMAND [flags]',
    '.SH COMMANDS',
    ...commands,
    '.SH EXIT STATUS',
    ...statuses,
  ].join('\n')}\n`;
}

module.exports = { commandHelp, generalHelp, manPage };
