'use strict';

// The two ends of a named socket, of any runtimes. The server prints 'ready', the client one line of JSON.
//
//   <runtime> peers.js <'server' or 'client'> <'net' or 'node-ipc'> <directory> <serialization>

const net = require('node:net');
const path = require('node:path');

const [role, what, directory, serialization] = process.argv.slice(2);
const TEXT = 'ä€'.repeat(100_000);

/** @param {string} outcome */
function print(outcome) {
  process.stdout.write(`${JSON.stringify({ outcome })}\n`, () => process.exit());
}

/** corral/net: messages, and a socket. */
function channels() {
  const corral = /** @type {any} */ (require('../../net'));
  /** @type {any} */
  const options = { ipc: true, path: path.join(directory, 'channel.sock'), serialization };
  if (role === 'server') {
    const server = corral.createServer(options, (/** @type {any} */ channel) => {
      channel.on('message', (/** @type {any} */ message, /** @type {any} */ handle) => {
        if (handle) handle.end('a socket');
        else channel.send({ back: message });
      });
    });
    server.listen(options.path, () => console.log('ready'));
    return;
  }
  const channel = corral.connect(options);
  channel.on('error', (/** @type {any} */ { code, message }) => print(`${code}: ${message}`));
  channel.once('message', (/** @type {any} */ { back }) => {
    if (back.text !== TEXT) return print('a message changes on its way');
    const server = net.createServer((socket) => {
      channel.send('a socket', socket);
      server.close();
    });
    server.listen(0, '127.0.0.1', () => {
      const { port } = /** @type {net.AddressInfo} */ (server.address());
      net.connect(port, '127.0.0.1').once('data', (data) => {
        print(`${data}` === 'a socket' ? 'works' : 'a socket does not arrive');
      });
    });
  });
  channel.send({ text: TEXT });
}

/** corral/node-ipc: an event and its answer. */
function events() {
  const { IPC } = require('../../node-ipc');
  const ipc = /** @type {any} */ (new IPC());
  Object.assign(ipc.config, { id: role, silent: true, appspace: '', socketRoot: `${directory}/` });
  if (role === 'server') {
    ipc.serve(() => {
      ipc.server.on('question', (/** @type {any} */ data, /** @type {any} */ socket) => {
        ipc.server.emit(socket, 'answer', data);
      });
      console.log('ready');
    });
    ipc.server.start();
    return;
  }
  ipc.connectTo('server', () => {
    const server = ipc.of.server;
    server.on('answer', (/** @type {any} */ { text }) => {
      print(text === TEXT ? 'works' : 'a message changes on its way');
    });
    server.on('connect', () => server.emit('question', { text: TEXT }));
  });
}

try {
  if (what === 'net') channels();
  else events();
} catch (error) {
  const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
  print(`${code}: ${message}`);
}
