'use strict';

// A corral that the kernel does not tell what other processes wait for, as in a sandbox: a copy of the binding that asks for a file
// which there is not.

const fs = require('node:fs');
const path = require('node:path');

const root = path.join(__dirname, '../..');

const FILE = '/syscall';
const NO_FILE = '/sysc?ll';

/**
 * @param {string} copy where to put it
 * @returns {NodeJS.ProcessEnv} what makes a process use it
 */
function silentKernel(copy) {
  const [name, ...others] = fs
    .readdirSync(root)
    .filter((file) => file.startsWith('corral.') && file.endsWith('.node'));
  if (name === undefined || others.length > 0) throw new Error('a checkout has one binding');
  const binary = fs.readFileSync(path.join(root, name));
  const places = [];
  for (let at = binary.indexOf(FILE); at !== -1; at = binary.indexOf(FILE, at + 1)) places.push(at);
  if (places.length === 0) throw new Error(`nothing in the binding is called ${FILE}`);
  for (const at of places) binary.write(NO_FILE, at, 'latin1');
  fs.writeFileSync(copy, binary);
  return { NAPI_RS_NATIVE_LIBRARY_PATH: copy };
}

module.exports = { silentKernel };
