'use strict';

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { pathToFileURL } = require('node:url');
const { connect } = require('../../bus');
const { contract, place } = require('./contract');

for (const durability of /** @type {const} */ (['disk', 'process'])) {
  contract({
    name: `file, ${durability}`,
    reported: 'file',
    async start(t) {
      const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-bus-'));
      const url = pathToFileURL(path.join(directory, 'bus.db'));
      return place(
        t,
        (options) => connect(url, { durability, ...options }),
        () => fs.rmSync(directory, { recursive: true }),
      );
    },
  });
}
