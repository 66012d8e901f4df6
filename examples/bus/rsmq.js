'use strict';

// What rsmq's README begins with, on no server: create a queue, send a message, receive it. With a Redis instead, the other lines
// are the same, and programs that use rsmq itself share the queue.
//
//   node examples/bus/rsmq.js
//
// REDIS is the path of a Redis's Unix socket; without it the queue is in a file in the directory for temporary files.

const os = require('node:os');
const path = require('node:path');
const RedisSMQ = require('../../rsmq');

const { REDIS } = process.env;
const rsmq = new RedisSMQ(REDIS ? { path: REDIS } : { embedded: path.join(os.tmpdir(), 'corral-rsmq.db') });

async function main() {
  await rsmq.createQueueAsync({ qname: 'myqueue' }).catch((error) => {
    if (error.name !== 'queueExists') throw error;
  });
  const id = await rsmq.sendMessageAsync({ qname: 'myqueue', message: 'Hello World' });
  console.log(`Message sent. ID: ${id}`);
  const got = await rsmq.receiveMessageAsync({ qname: 'myqueue' });
  if ('id' in got) {
    console.log(`Message received: ${got.message}`);
    await rsmq.deleteMessageAsync({ qname: 'myqueue', id: got.id });
  } else {
    console.log('No messages for me...');
  }
  await rsmq.quitAsync();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
