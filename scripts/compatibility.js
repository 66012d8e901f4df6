#!/usr/bin/env node
'use strict';

// Runs every pair of runtimes that docs/compatibility.md has a cell for: Node 20, 22, 24 and 26, Bun and Deno, from npm.
//
//   node scripts/compatibility.js           compares what happens with the document
//   node scripts/compatibility.js --write   writes it into the document

const { CELLS } = require('./compatibility/cells');
const document = require('./compatibility/document');
const { find } = require('./lib-runtimes');

/** @typedef {import('./compatibility/document').Outcome} Outcome */

/** How many at a time. */
const CONCURRENCY = 2;

/** @param {string} name @returns {import('./lib-runtimes').Runtime} */
function runtime(name) {
  const found = find(name);
  if ('missing' in found) throw new Error(found.missing);
  return found.runtime;
}

/** @returns {Promise<Outcome[]>} in the order of the cells */
async function runAll() {
  /** @type {Outcome[]} */
  const outcomes = [];
  let next = 0;
  async function work() {
    while (next < CELLS.length) {
      const index = next++;
      const { table, row, column, run } = CELLS[index];
      const outcome = await run(runtime);
      outcomes[index] = { table, row, column, outcome };
      console.log(`${table}: ${row}, ${column}: ${outcome}`);
    }
  }
  await Promise.all(Array.from({ length: CONCURRENCY }, work));
  return outcomes;
}

async function main() {
  const outcomes = await runAll();
  if (process.argv.includes('--write')) {
    document.write(outcomes);
    return;
  }
  const key = (/** @type {Outcome} */ { table, row, column }) => `${table}: ${row}, ${column}`;
  const told = new Map(document.read().map((outcome) => [key(outcome), outcome.outcome]));
  const wrong = outcomes.filter((outcome) => told.get(key(outcome)) !== outcome.outcome);
  for (const outcome of wrong) {
    console.error(
      `docs/compatibility.md, ${key(outcome)}: ${told.get(key(outcome))}; it is: ${outcome.outcome}`,
    );
  }
  console.log(`${outcomes.length} cells, ${wrong.length} differ from docs/compatibility.md`);
  if (wrong.length > 0) process.exitCode = 1;
}

main().catch((error) => {
  console.error(`compatibility: ${error.message}`);
  process.exitCode = 2;
});
