'use strict';

// The process that has the engine, as a cluster's primary has it: bus-server.js <memory | file> <place>.

const { serve } = require('../lib/remote');
const { addon, serve: serveFile } = require('../../lib/bus/serving');

const [kind, place] = process.argv.slice(2);

serve({
  start() {
    if (kind === 'memory') addon().listenMemory(place);
    else serveFile(place);
  },
  rss: () => process.memoryUsage().rss,
  cpu: () => process.cpuUsage().user + process.cpuUsage().system,
});
