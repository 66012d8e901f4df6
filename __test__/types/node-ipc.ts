// A program on `corral/node-ipc`. Nothing here runs: it compiles, or lint fails.

import ipc from 'corral/node-ipc';

ipc.config.id = 'world';
ipc.config.retry = 1500;
ipc.config.maxRetries = false;
ipc.config.logger = (text) => console.log(text.trim());
ipc.config.interfaces = { localAddress: '127.0.0.1', family: 4 };
ipc.config.tls = {
  private: 'key.pem',
  public: 'cert.pem',
  trustedConnections: ['ca.pem'],
  requestCert: true,
};
// @ts-expect-error: a string
ipc.config.appspace = 7;

ipc.serve(() => {
  ipc.server
    .on('message', (data, socket) => ipc.server.emit(socket, 'message', `${data} world!`))
    .on('socket.disconnected', (socket, id) => console.log(socket.destroyed, id))
    .on('data', (bytes) => console.log(bytes.length.toFixed()))
    .on('*', (type, ...args) => console.log(type.trim(), args))
    .off('message', '*')
    .broadcast('bye', { at: 1 });
});
ipc.serve('/tmp/socket');
ipc.serveNet('127.0.0.1', 0, 'udp4', (address) => console.log(address?.port.toFixed()));
ipc.serveNet('udp6', () => ipc.server.emit({ address: '::1', port: 8000 }, 'hello'));
ipc.serveNet(8001, () => {});
ipc.serveNet();
ipc.server.start();
ipc.server.stop();
// @ts-expect-error: neither
ipc.serveNet(8001, 'tcp');

ipc.connectTo('world', () => {
  const { world } = ipc.of;
  world
    ?.on('connect', () => world.emit('message', 'hello'))
    .once('error', (error) => console.log(error.code))
    .on('data', (bytes) => console.log(bytes.toString('hex')));
  world?.emit([0x05, 0x6d]);
});
ipc.connectToNet('world', 8000, (instance) => instance?.log('here', { a: 1 }));
ipc.disconnect('world');

export const other: ipc.IPC = new ipc.IPC();
export const client: ipc.Client | undefined = other.of.world;
