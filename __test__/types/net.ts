// corral/net as a TypeScript program uses it. Nothing here runs: it compiles, or lint fails.

import { once } from 'node:events';
import type * as node from 'node:net';
import net, {
  type Channel,
  type ChannelConnectOptions,
  type ChannelServer,
  connect,
  createConnection,
  createServer,
  isIP,
  type Peer,
  Server,
  Socket,
} from 'corral/net';

/** What the two programs say to each other. */
interface Reading {
  sensor: string;
  value: number;
}

// A server of channels.
const server: ChannelServer = createServer(
  {
    ipc: true,
    serialization: 'advanced',
    maxConnections: 100,
    maxMessageSize: 1024 ** 2,
    maxQueuedBytes: 8 * 1024 ** 2,
    handshakeTimeout: 1_000,
    allow: async ({ uid }) => uid === 1000,
  },
  (channel) => {
    const peer: Peer | undefined = channel.peer;
    channel.on('message', (message: Reading, handle) => {
      if (handle instanceof Socket) handle.destroy();
      else if (handle instanceof Server) handle.close();
      else if (typeof handle === 'number') handle.toFixed();
      channel.send({ seen: message.value + 1, by: peer?.pid });
    });
    channel.respond(function (message: Reading) {
      return { connected: this.connected, sensor: message.sensor };
    });
    channel.respond(undefined);
  },
);
server.listen('/run/app/socket', () => {
  const address: string | null = server.address();
  console.log(address?.length, server.listening);
});
server.listen('/run/app/socket', 64);
server.listen({ path: '\0app', backlog: 64, writableAll: true, signal: AbortSignal.timeout(1_000) });
server.maxConnections = undefined;
server
  .on('connection', (channel) => channel.disconnect())
  .on('clientError', ({ code, message }, { pid, uid, gid }, channel) =>
    console.log(code, message, pid + uid + gid, channel?.destroy().path),
  )
  .on('drop', ({ peer, path }) => console.log(peer.uid, path.length))
  .once('listening', () => server.unref().ref())
  .once('error', (error) => console.error(error.code))
  .once('close', () => {});
const isBelow: boolean = server.broadcast({ hello: 'all' });
for (const channel of server.connections) channel.destroy();
// @ts-expect-error: not the program's to change
server.connections.clear();
server.getConnections((_error, count) => console.log(count.toFixed(), isBelow));
server.close((error) => console.log(error?.message));
// @ts-expect-error: channels are to be had at paths only
server.listen(8000);
// @ts-expect-error: the same
server.listen({ port: 8000 });
// @ts-expect-error: one of two
createServer({ ipc: true, serialization: 'yaml' });
// @ts-expect-error: yes or no
createServer({ ipc: true, allow: () => 'yes' });
// @ts-expect-error: its connections are channels
createServer({ ipc: true }, (socket: node.Socket) => socket.end());

// A client.
const options: ChannelConnectOptions = {
  ipc: true,
  path: '/run/app/socket',
  reconnect: { minDelay: 10, maxDelay: 1_000, jitter: 0 },
};
const channel: Channel = connect(options, () => console.log('connected'));
connect({ ipc: true, path: '\0app', reconnect: true }).unref();
createConnection({ ipc: true, path: '\0app' }).ref();
channel
  .on('connect', () => channel.pause().isPaused())
  .on('reconnecting', ({ attempt, delay, cause }) => console.log(attempt + delay, cause?.message))
  .on('drain', () => channel.resume())
  .on('disconnect', () => console.log(channel.connected, channel.connecting, channel.path))
  .on('error', (error) => console.error(error.code))
  .once('close', () => {});
// @ts-expect-error: only a path says who is at the other end
connect({ ipc: true, port: 8000 });
// @ts-expect-error: without a path
connect({ ipc: true });
// @ts-expect-error: a delay is a number
connect({ ipc: true, path: '\0app', reconnect: { minDelay: '10' } });
// @ts-expect-error: made by connect and createServer
new net.Channel();
// @ts-expect-error: the same
new net.ChannelServer();

export async function talk(
  socket: Socket,
  listener: node.Server,
  file: import('node:fs/promises').FileHandle,
) {
  channel.send('text');
  channel.send({ sensor: 'a', value: 1 }, (error) => console.log(error?.message));
  channel.send('socket', socket);
  channel.send('socket', socket, { keepOpen: true });
  channel.send('server', listener, (error) => console.log(error?.message));
  const goesOn: boolean = channel.send('file', file, { swallowErrors: true }, () => {});
  channel.send('descriptor', file.fd);
  channel.send('no handle', undefined, undefined, () => {});
  // @ts-expect-error: not a handle
  channel.send('text', 'text');
  // @ts-expect-error: no such option
  channel.send('socket', socket, { keepAlive: true });
  // @ts-expect-error: without a message
  channel.send();

  const reading = await channel.request<Reading>({ sensor: 'a' }, { timeout: 1_000 });
  const untyped = await channel.request('anything', { signal: AbortSignal.abort() });
  console.log(reading.value.toFixed(), untyped.whatever, goesOn);
  // @ts-expect-error: not of a Reading
  console.log(reading.unit);
  // @ts-expect-error: milliseconds
  await channel.request('text', { timeout: '1s' });
  // @ts-expect-error: a function
  channel.respond('text');
  // @ts-expect-error: only read
  channel.peer = { pid: 1, uid: 0, gid: 0 };
  // @ts-expect-error: a channel is no stream
  channel.write('text');

  await once(channel, 'connect', { signal: AbortSignal.timeout(1_000) });
  for await (const message of channel) console.log((message as Reading).sensor);
  channel.channel?.unref();
  channel.disconnect();
  await server[Symbol.asyncDispose]();
}

// Everything of `net`, as it was.
const tcp: node.Server = createServer((socket) => socket.pipe(socket));
const halfOpen: node.Server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
  const plain: node.Socket = socket;
  plain.end(`${isIP('::1')}\n`);
});
const empty: Server = createServer();
const sockets: node.Socket[] = [
  connect(8000),
  connect(8000, 'localhost', () => {}),
  connect('/run/app/socket', () => {}),
  connect({ port: 8000, host: 'localhost' }),
  net.connect({ path: '/run/app/socket' }, () => {}),
  createConnection({ port: 8000 }),
  createConnection(8000),
];
tcp.listen(0, () => console.log((tcp.address() as node.AddressInfo).port));
// @ts-expect-error: a plain server knows nothing of it
tcp.broadcast('text');
// @ts-expect-error: nor does a plain connection
sockets[0]?.request('text');
// @ts-expect-error: neither a path nor a port
connect();
const said: node.Server = createServer({ ipc: false });

export { empty, halfOpen, said };
