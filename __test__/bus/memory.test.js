'use strict';

const { connect } = require('../../bus');
const { contract, place } = require('./contract');

contract({
  name: 'memory',
  reported: 'memory',
  // All buses of this process have one engine: each test begins with nothing in it.
  async start(t) {
    const cleaner = await connect();
    return place(
      t,
      (options) => connect(undefined, options),
      async () => {
        for (const name of await cleaner.queues()) await cleaner.queue(name).delete();
        for (const name of ['plain', 'c'])
          while ((await cleaner.list(name).length()) > 0) await cleaner.list(name).pop();
        await cleaner.close();
      },
    );
  },
});
