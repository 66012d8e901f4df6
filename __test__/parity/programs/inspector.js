'use strict';

// Which inspector port a worker gets. The ports are only asked for, not opened by this program: two of them run at
// the same time, and a worker that finds its port in use says so and goes on.

const path = require('node:path');
const { once } = require('node:events');
const { cluster, run, runAlone } = require('../scenario.js');

const REPORT = path.join(__dirname, '..', 'workers', 'report.js');

/** @param {any} t @param {any} settings */
async function forkTwo(t, settings) {
  cluster.settings = {};
  try {
    cluster.setupPrimary({ exec: REPORT, ...settings });
    for (let round = 0; round < 2; round++) {
      const worker = t.fork({ quiet: true });
      // A worker whose port is not allowed exits without a message.
      const { execArgv, debugPort } = await Promise.race([t.message(worker), once(worker, 'exit')]);
      t.log('worker', execArgv, execArgv?.includes('--inspect-port=0') ? 'any' : debugPort);
    }
  } catch (error) {
    t.log('thrown', error);
  }
  await t.ended();
  cluster.settings = {};
}

/** @param {any} settings */
function withSettings(settings) {
  return { primary: (t) => forkTwo(t, settings) };
}

const INSPECT = ['--inspect=127.0.0.1:0'];

if (process.env.PARITY_ALONE) {
  cluster.setupPrimary({ exec: REPORT });
  cluster.fork().on('message', ({ execArgv, debugPort }) => {
    const ports = execArgv.map((text) => text.replace(debugPort, '<port>'));
    console.log(JSON.stringify({ ports, difference: debugPort - process.debugPort, own: process.execArgv }));
  });
} else {
  let calls = 0;
  run({
    'not used': withSettings({ inspectPort: 40_000 }),
    'by execArgv': withSettings({ execArgv: INSPECT }),
    'by a port in execArgv': withSettings({ execArgv: ['--inspect-port=0', '--inspect'] }),
    'the port alone': withSettings({ execArgv: ['--inspect-port=41000'] }),
    'inspectPort 0': withSettings({ execArgv: INSPECT, inspectPort: 0 }),
    'inspectPort a number': withSettings({ execArgv: INSPECT, inspectPort: 40_100 }),
    'inspectPort a function': withSettings({ execArgv: INSPECT, inspectPort: () => 40_200 + calls++ }),
    'inspectPort a function that returns 0': withSettings({ execArgv: INSPECT, inspectPort: () => 0 }),
    'inspectPort a function that throws': withSettings({
      execArgv: INSPECT,
      inspectPort() {
        throw new RangeError('no more ports');
      },
    }),
    'inspectPort a function that returns nonsense': withSettings({
      execArgv: INSPECT,
      inspectPort: () => 'text',
    }),
    'inspectPort a function that returns null': withSettings({ execArgv: INSPECT, inspectPort: () => null }),
    'inspectPort a string': withSettings({ execArgv: INSPECT, inspectPort: 'text' }),
    'inspectPort a numeric string': withSettings({ execArgv: INSPECT, inspectPort: '40300' }),
    'inspectPort a fraction': withSettings({ execArgv: INSPECT, inspectPort: 40_400.5 }),
    'inspectPort too large': withSettings({ execArgv: INSPECT, inspectPort: 70_000 }),
    'inspectPort negative': withSettings({ execArgv: INSPECT, inspectPort: -5 }),
    'inspectPort privileged': withSettings({ execArgv: INSPECT, inspectPort: 1000 }),
    'inspectPort null': withSettings({ execArgv: INSPECT, inspectPort: null }),
    'inspectPort an object': withSettings({ execArgv: INSPECT, inspectPort: {} }),
    'the primary itself is inspected': {
      async primary(t) {
        await runAlone(t, 'by a flag', { execArgv: ['--inspect=0'] });
        await runAlone(t, 'by NODE_OPTIONS', { env: { NODE_OPTIONS: '--inspect=0' } });
      },
    },
  });
}
