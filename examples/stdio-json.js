'use strict';

// A parent and a child that speak JSON over the child's stdin and stdout: no channel, so the child could be a program
// in any language. Run it with
//
//   node examples/stdio-json.js some words
//
// The parent sends each word as a request, all at once; the child answers each, in its own time and order: the id says
// what an answer belongs to. The parent prints them, such as
//
//   1: some -> SOME
//
// and when it has them all it ends the child's stdin, which ends the child.

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const { JsonLines } = require('./json-lines.js');

const DEFAULT_WORDS = ['hello', 'größer', '世界', '🐎 corral'];

/**
 * @typedef {{ id: number, word: string }} Request
 * @typedef {{ id: number, upper: string }} Answer
 */

/** @param {string[]} words */
async function runParent(words) {
  // What the child says to people goes to stderr: its stdout is for messages.
  const child = spawn(process.execPath, [__filename, '--child'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const channel = new JsonLines(child.stdout, child.stdin);
  let missing = words.length;

  channel.on('message', (/** @type {Answer} */ { id, upper }) => {
    console.log(`${id}: ${words[id - 1]} -> ${upper}`);
    if (--missing === 0) channel.end();
  });
  channel.on('error', (error) => console.error(error.message));
  for (const [index, word] of words.entries()) channel.send({ id: index + 1, word });

  // 'close' and not 'exit': by then all that it had written has been read.
  const [code, signal] = await once(child, 'close');
  console.log(`the child ended (${signal ?? `code ${code}`}), ${missing} answers are missing`);
  if (missing > 0 || code !== 0) process.exitCode = 1;
}

function runChild() {
  const channel = new JsonLines(process.stdin, process.stdout);
  channel.on('message', (/** @type {Request} */ { id, word }) => {
    channel.send({ id, upper: word.toUpperCase() });
  });
  // Nothing but stdin keeps the child alive: when the parent ends it, or is gone, the child ends.
}

const words = process.argv.slice(2);
if (words[0] === '--child') runChild();
else runParent(words.length > 0 ? words : DEFAULT_WORDS);
