'use strict';

// A Node that does not export something to addons, as a program that embeds Node may not: a copy of the one that runs
// this, in whose table of names that one name is another.

const fs = require('node:fs');

/**
 * @param {string} symbol
 * @param {string} file where to put it
 * @returns {boolean} false when this Node has the name from a library, so that there is nothing to change in a copy
 */
function nodeWithout(symbol, file) {
  const binary = fs.readFileSync(process.execPath);
  const name = Buffer.from(`\0${symbol}\0`, 'latin1');
  let count = 0;
  for (let at = binary.indexOf(name); at !== -1; at = binary.indexOf(name, at + 1)) {
    // The loader finds names by their hashes, and then compares: nobody asks for this one.
    binary.write('?', at + symbol.length, 'latin1');
    count++;
  }
  if (count > 0) fs.writeFileSync(file, binary, { mode: 0o755 });
  return count > 0;
}

module.exports = { nodeWithout };
