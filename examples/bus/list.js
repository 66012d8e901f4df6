'use strict';

// A list that is shared with a program that knows nothing of corral: here it speaks to Redis by hand, as redis-cli does.
// Values are plain JSON; what it pushes with LPUSH is popped here, and what is pushed here it pops with BRPOP.
//
//   REDIS=/run/redis/redis.sock node examples/bus/list.js
//
// REDIS is the path of a Redis's Unix socket.

const net = require('node:net');
const { once } = require('node:events');
const { connect } = require('../../bus');

const { REDIS } = process.env;

/** The other program: a command, and the last line of its answer. @param {string[]} words */
async function otherProgram(...words) {
  const socket = net.connect(/** @type {string} */ (REDIS)).setEncoding('utf8');
  socket.write(`*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`);
  const [answer] = await once(socket, 'data');
  socket.destroy();
  return answer.trim().split('\r\n').at(-1);
}

async function main() {
  if (REDIS === undefined) throw new Error("REDIS is to be the path of a Redis's socket");
  const bus = await connect(`redis+unix://${REDIS}`);
  const mails = bus.list('mails');
  await mails.push({ to: 'ours' });
  console.log(`the other program has got ${await otherProgram('BRPOP', 'mails', '1')}`);
  const waiting = mails.pop({ wait: 10_000 });
  await otherProgram('LPUSH', 'mails', '{"to":"theirs"}');
  console.log(`this one has got ${JSON.stringify(await waiting)}`);
  await bus.close();
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
