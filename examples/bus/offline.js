'use strict';

// A producer whose engine is away: what it sends waits in its memory, within a bound, and is delivered in its order when the
// engine is back. Beyond the bound it is an error at once, and no loss.
//
//   BUS=redis://localhost node examples/bus/offline.js
//
// It sends a number every 100 ms. Stop the Redis, and start it again.

const { setTimeout: sleep } = require('node:timers/promises');
const { connect } = require('../../bus');

async function main() {
  const bus = await connect(process.env.BUS ?? 'redis://localhost', { offline: { messages: 5 } });
  bus.on('down', (error) => console.log(`down: ${error.message}`));
  bus.on('up', () => console.log('up'));
  console.log('sending');
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => controller.abort());
  for (let number = 0; !controller.signal.aborted; number += 1) {
    bus
      .queue('numbers')
      .send(number)
      .then(
        () => console.log(`kept ${number}`),
        (error) => console.log(`refused ${number}: ${error.code}`),
      );
    await sleep(100);
  }
  await bus.close();
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
