'use strict';

// A worker script that is not the primary's: tells how it was started and ends.

const path = require('node:path');

process.send(
  {
    file: path.basename(__filename),
    argv: process.argv.slice(2),
    execArgv: process.execArgv,
    cwd: path.basename(process.cwd()),
    title: process.title === process.argv0,
    debugPort: process.debugPort,
    uid: process.getuid?.(),
    gid: process.getgid?.(),
  },
  () => process.disconnect(),
);
