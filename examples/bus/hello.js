'use strict';

// A queue in a file: one process sends, the same one or another receives. What was sent is there until somebody has worked on
// it, whatever process ends in between.
//
//   node examples/bus/hello.js send 'Hello World'
//   node examples/bus/hello.js receive
//
// BUS is the URL of the bus; the default is a file in the directory for temporary files.

const os = require('node:os');
const path = require('node:path');
const { pathToFileURL } = require('node:url');
const { connect } = require('../../bus');

const url = process.env.BUS ?? pathToFileURL(path.join(os.tmpdir(), 'corral-hello.db')).href;

async function main() {
  const [action, text = 'Hello World'] = process.argv.slice(2);
  const bus = await connect(url);
  const queue = bus.queue('hello');
  if (action === 'send') {
    const { id } = await queue.send(text);
    console.log(`sent ${id}`);
  } else if (action === 'receive') {
    const [job] = await queue.receive({ wait: 10_000 });
    console.log(job === undefined ? 'nothing came' : `received ${job.message}`);
    await job?.ack();
  } else {
    console.error('usage: node examples/bus/hello.js send [text] | receive');
    process.exitCode = 2;
  }
  await bus.close();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
