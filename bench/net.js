'use strict';

// Messages between unrelated processes over a path: corral/net beside JSON lines over plain sockets, or beside the real
// node-ipc. See README.md.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { readOptions } = require('./lib/options');
const { runPairs } = require('./lib/pairs');
const { Remote } = require('./lib/remote');
const { printReport, ratioTarget } = require('./lib/report');
const { SIZES } = require('./programs/ipc-traffic');

const PROGRAM = path.join(__dirname, 'programs/net-peer.js');
const WARM_UP_SECONDS = 0.3;
const BYTES_PER_MB = 1e6;

const options = readOptions({ seconds: 1, against: 'raw', advanced: false });
if (!['raw', 'node-ipc'].includes(options.against)) {
  console.error('--against wants raw or node-ipc');
  process.exit(2);
}
const ours = options.advanced ? 'corral-advanced' : 'corral';

/** @param {import('./lib/side').Side} side */
async function measure(side) {
  const { seconds } = options;
  const name = side === 'corral' ? ours : options.against;
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-bench-'));
  const [server, client] = [0, 1].map(() => new Remote(PROGRAM, { args: [name] }));
  try {
    const address = path.join(directory, 'socket');
    await server.ask('listen', address);
    await client.ask('connect', address);
    await client.ask('send', { size: '16 B', seconds: WARM_UP_SECONDS });
    const roundTrip = await client.ask('roundTrip', seconds);
    const small = await client.ask('send', { size: '16 B', seconds });
    const smallCpu = await server.ask('cpu');
    const big = await client.ask('send', { size: '1 MiB', seconds });
    const bigCpu = await server.ask('cpu');
    return {
      roundTripP50: roundTrip.p50,
      roundTrips: 1e6 / roundTrip.p50,
      small: small.rate,
      smallSender: small.cpu,
      smallReceiver: smallCpu,
      big: (big.rate * SIZES['1 MiB'].bytes) / BYTES_PER_MB,
      bigSender: big.cpu,
      bigReceiver: bigCpu,
    };
  } finally {
    await Promise.all([server.stop(), client.stop()]);
    fs.rmSync(directory, { recursive: true });
  }
}

async function main() {
  const isRaw = options.against === 'raw';
  const pairs = await runPairs(options, measure);
  printReport(
    {
      title: `net: two unrelated processes, ${ours} against ${isRaw ? 'JSON lines over net' : 'node-ipc'}`,
      baseline: options.against,
      pairs,
      rows: [
        { name: 'roundTripP50', label: 'round trip: median, us', digits: 1 },
        { name: 'roundTrips', label: 'round trip: trips/s at the median' },
        { name: 'small', label: 'small: messages/s' },
        { name: 'smallSender', label: "small: sender's CPU, us/message", digits: 2 },
        { name: 'smallReceiver', label: "small: receiver's CPU, us/message", digits: 2 },
        { name: 'big', label: '1 MiB: MB/s' },
        { name: 'bigSender', label: "1 MiB: sender's CPU, us/message" },
        { name: 'bigReceiver', label: "1 MiB: receiver's CPU, us/message" },
      ],
      targets: ({ small, big }) =>
        isRaw
          ? [ratioTarget('small messages/s', small, 0.95), ratioTarget('1 MiB, MB/s', big, 2)]
          : [ratioTarget('small messages/s', small, 3)],
    },
    options,
  );
}

main();
