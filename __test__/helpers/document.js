'use strict';

// A document as its reader uses it: files that it shows are written, and what it says to run is run.
//
// A file is a fenced block behind a line that is its name in backquotes and a colon (`app.js`:). Commands are blocks
// that begin with ```sh; a block that begins with ```text behind one is what that prints.

const fs = require('node:fs');
const path = require('node:path');

const root = path.join(__dirname, '../..');

/**
 * @typedef {{ kind: 'file', name: string, text: string }} File
 * @typedef {{ kind: 'commands', lines: string[], output?: string }} Commands
 */

/**
 * @param {string} document in the root
 * @returns {(File | Commands)[]} in the order of the document
 */
function stepsOf(document) {
  const text = fs.readFileSync(path.join(root, document), 'utf8');
  /** @type {(File | Commands)[]} */
  const steps = [];
  for (const [, name, language, body] of text.matchAll(/(?:^`([^`\n]+)`:\n\n)?^```(\w*)\n(.*?)^```$/gms)) {
    const last = steps.at(-1);
    if (name !== undefined) steps.push({ kind: 'file', name, text: body });
    else if (language === 'sh') steps.push({ kind: 'commands', lines: body.trimEnd().split('\n') });
    else if (language === 'text' && last?.kind === 'commands') last.output = body;
  }
  return steps;
}

/**
 * Writes the files of a document.
 *
 * @param {string} document
 * @param {string} directory
 */
function writeFilesOf(document, directory) {
  for (const step of stepsOf(document)) {
    if (step.kind === 'file') fs.writeFileSync(path.join(directory, step.name), step.text);
  }
}

module.exports = { stepsOf, writeFilesOf };
