'use strict';

// Where the control sockets of a user's programs are.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const { UsageError } = require('./usage-error');

/** @returns {string} a directory of this user's alone; made if it is not there */
function socketDirectory() {
  const runtime = process.env.XDG_RUNTIME_DIR;
  const { uid } = os.userInfo();
  const directory = runtime ? path.join(runtime, 'corral') : path.join(os.tmpdir(), `corral-${uid}`);
  fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
  const { uid: owner, mode } = fs.lstatSync(directory);
  // Anybody may make it in /tmp, and would be who is spoken to.
  if (owner !== uid || (mode & 0o077) !== 0) {
    throw new UsageError(`${directory} is not a directory of this user's alone; name a socket by --control`);
  }
  return directory;
}

/** @param {string} name of a program */
function socketOf(name) {
  return path.join(socketDirectory(), `${name}.sock`);
}

/** @returns {string[]} the names of programs that have a socket */
function namesOfSockets() {
  const files = fs.readdirSync(socketDirectory()).filter((file) => file.endsWith('.sock'));
  return files.map((file) => file.slice(0, -'.sock'.length)).sort();
}

module.exports = { namesOfSockets, socketOf };
