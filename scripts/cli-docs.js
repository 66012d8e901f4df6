'use strict';

// Writes what follows from the tables of `cli/`: the man page and the JSON schema of config files.

const fs = require('node:fs');
const path = require('node:path');

const { manPage } = require('../cli/help');
const { schema } = require('../cli/schema');

const root = path.dirname(__dirname);

/** The files, and what is in them. @type {Record<string, () => string>} */
const FILES = {
  'docs/corral.1': manPage,
  'cli/config.schema.json': () => `${JSON.stringify(schema(), null, 2)}\n`,
};

if (require.main === module) {
  for (const [file, make] of Object.entries(FILES)) fs.writeFileSync(path.join(root, file), make());
}

module.exports = { FILES };
