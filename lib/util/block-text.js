'use strict';

/**
 * @param {import('../..').Block} block of a worker
 * @returns {string} what it does, with its stack as JavaScript's errors have theirs
 */
function blockText({ activity, stack }) {
  return [activity, ...(stack ?? []).map((frame) => `    at ${frameText(frame)}`)].join('\n');
}

/** @param {import('../..').BlockFrame} frame */
function frameText({ function: name, file, line, column }) {
  const where = file === '' ? '<anonymous>' : `${file}:${line}:${column}`;
  return name === '' ? where : `${name} (${where})`;
}

module.exports = { blockText };
