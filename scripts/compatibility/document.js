'use strict';

// The tables of docs/compatibility.md: written from outcomes, and read back. Each stands between two comments; outcomes of many
// words are notes behind the last table.

const fs = require('node:fs');
const path = require('node:path');

/** @typedef {{ table: string, row: string, column: string, outcome: string }} Outcome */

const FILE = path.join(__dirname, '../../docs/compatibility.md');
const NOTES = 'notes';
/** The longest outcome that stands in a cell, in characters. */
const MAX_CELL = 24;
const WIDTH = 108;

/** What stands in the corner of each table. @type {Record<string, string>} */
const CORNERS = {
  primary: 'Primary',
  json: 'Worker \\ primary',
  advanced: 'Worker \\ primary',
  net: 'Server \\ client',
  'node-ipc': 'Server \\ client',
  values: 'Value, written by \\ read by',
};

/** @param {string} name */
function markers(name) {
  return [`<!-- ${name}: by npm run compatibility -->\n`, '<!-- end -->\n'];
}

/** @param {string} text @param {string} name @returns {[number, number]} where what is between its markers begins and ends */
function placeOf(text, name) {
  const [begin, end] = markers(name);
  const start = text.indexOf(begin) + begin.length;
  const stop = text.indexOf(end, start);
  if (start < begin.length || stop < 0) throw new Error(`${FILE} has no place for '${name}'`);
  return [start, stop];
}

/** @param {string} text @param {string} indent of the lines behind the first */
function wrap(text, indent) {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines[lines.length - 1];
    if (line.length + word.length < WIDTH) lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
    else lines.push(indent + word);
  }
  return lines.join('\n');
}

/**
 * Puts all outcomes into the document's text.
 *
 * @param {string} text
 * @param {Outcome[]} outcomes
 */
function written(text, outcomes) {
  /** @type {string[]} */
  const notes = [];
  /** @param {string | undefined} outcome */
  const cell = (outcome) => {
    if (outcome === undefined) return '';
    if (outcome.length <= MAX_CELL) return outcome;
    if (!notes.includes(outcome)) notes.push(outcome);
    return `note ${notes.indexOf(outcome) + 1}`;
  };
  for (const [table, corner] of Object.entries(CORNERS)) {
    const own = outcomes.filter((outcome) => outcome.table === table);
    const columns = [...new Set(own.map(({ column }) => column))];
    const rows = [...new Set(own.map(({ row }) => row))];
    const lines = rows.map((row) => [
      row,
      ...columns.map((column) => cell(own.find((one) => one.row === row && one.column === column)?.outcome)),
    ]);
    const all = [[corner, ...columns], [corner, ...columns].map(() => '---'), ...lines];
    const [start, stop] = placeOf(text, table);
    text = `${text.slice(0, start)}\n${all.map((line) => `| ${line.join(' | ')} |`).join('\n')}\n\n${text.slice(stop)}`;
  }
  const [start, stop] = placeOf(text, NOTES);
  const list = notes.map((note, index) => wrap(`${index + 1}. ${note}`, '   ')).join('\n');
  return `${text.slice(0, start)}\n${list}\n\n${text.slice(stop)}`;
}

/** @param {string} text @returns {Outcome[]} those that the document tells */
function read(text) {
  const [begin, end] = placeOf(text, NOTES);
  const notes = text
    .slice(begin, end)
    .replace(/\n {3}/g, ' ')
    .trim()
    .split('\n');
  const outcomeOf = (/** @type {string} */ cell) => {
    const number = /^note (\d+)$/.exec(cell)?.[1];
    return number === undefined ? cell : notes[Number(number) - 1].replace(/^\d+\. /, '');
  };
  return Object.keys(CORNERS).flatMap((table) => {
    const [start, stop] = placeOf(text, table);
    const lines = text.slice(start, stop).trim().split('\n');
    const [[, ...columns], , ...rows] = lines.map((line) => line.slice(2, -2).split(' | '));
    return rows.flatMap(([row, ...cells]) =>
      cells.flatMap((cell, index) =>
        cell.trim() === '' ? [] : [{ table, row, column: columns[index], outcome: outcomeOf(cell) }],
      ),
    );
  });
}

module.exports = {
  read: () => read(fs.readFileSync(FILE, 'utf8')),
  write: (/** @type {Outcome[]} */ outcomes) =>
    fs.writeFileSync(FILE, written(fs.readFileSync(FILE, 'utf8'), outcomes)),
};
