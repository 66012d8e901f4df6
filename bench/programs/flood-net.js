'use strict';

// A server over a path, or one of its clients that send without end, by the transport that its argument names.

const { serve } = require('../lib/remote');
const { transport } = require('../lib/transports');
const { Watch, flood } = require('./flood-traffic');

const name = process.argv[2];
const watch = new Watch();

serve({
  /** @param {string} path */
  listen: (path) => transport(name).listen(path, () => () => watch.item()),
  /** @param {string} path */
  connect: (path) =>
    transport(name).connect(path, (peer) => {
      setImmediate(flood, peer);
      return () => {};
    }),
  /** @param {number} seconds */
  watch: (seconds) => watch.run(seconds),
});
