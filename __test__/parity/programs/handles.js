'use strict';
// Serialization: json advanced

// Handles in messages, both ways: what arrives, what becomes of the one that was sent, and in which order.

const net = require('node:net');
const http = require('node:http');
const dgram = require('node:dgram');
const path = require('node:path');
const { once } = require('node:events');
const { run, SCRATCH } = require('../scenario.js');
const { listen, connect, pair, readAll, ask, close, connections, bind } = require('../sockets.js');

/** Ends the worker when it is told to. */
function endOnRequest() {
  process.on('message', (message) => {
    if (message === 'end') process.disconnect();
  });
}

/** @param {any} worker @param {any[]} args what send() gets before the callback */
function sendAndWait(worker, ...args) {
  return new Promise((resolve) => worker.send(...args, resolve));
}

function describe(handle) {
  if (handle instanceof net.Socket) {
    const { readable, writable, destroyed, connecting, remoteAddress, allowHalfOpen } = handle;
    return {
      readable,
      writable,
      destroyed,
      connecting,
      remoteAddress,
      allowHalfOpen,
      paused: handle.isPaused(),
    };
  }
  if (handle instanceof net.Server) return { listening: handle.listening, address: handle.address() };
  if (handle instanceof dgram.Socket) return { type: handle.type, address: handle.address() };
  return handle?.constructor.name;
}

run({
  'a socket to the worker': {
    async primary(t) {
      const worker = t.fork();
      const server = await listen();
      const { accepted, client } = await pair(server);
      t.log('connections', await connections(server));
      // What a client writes before the primary has let go of the socket is read there and lost.
      const taken = t.message(worker);
      t.log('callback', await sendAndWait(worker, { name: 'socket' }, accepted));
      t.log('sent', accepted.destroyed, accepted.readable, accepted.writable);
      await taken;
      const text = readAll(client);
      client.write('hello');
      t.log('client got', await text);
      client.end();
      await close(server);
      t.log('server closed');
      worker.send('end');
    },
    worker(t) {
      endOnRequest();
      process.on('message', (message, handle) => {
        t.log('message', message, handle, describe(handle));
        if (!handle) return;
        handle.on('data', (data) => handle.end(`worker got ${data}`));
        process.send('taken');
      });
    },
  },
  'a paused socket with data': {
    async primary(t) {
      const worker = t.fork();
      const server = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const { accepted, client } = await pair(server);
      client.write('early');
      await sendAndWait(worker, 'paused', accepted);
      t.log('client got', await readAll(client));
      await close(server);
      worker.send('end');
    },
    worker(t) {
      endOnRequest();
      process.on('message', (message, handle) => {
        t.log('message', message, describe(handle));
        handle?.once('data', (data) => handle.end(`worker got ${data}`));
        handle?.resume();
      });
    },
  },
  'server.close and getConnections count what a worker has': {
    async primary(t) {
      const worker = t.fork();
      const server = await listen();
      const first = await pair(server);
      const second = await pair(server);
      t.log('before', await connections(server));
      worker.send('take', first.accepted);
      worker.send('take', second.accepted);
      await t.message(worker);
      await t.message(worker);
      t.log('after', await connections(server));
      let closed = false;
      const end = close(server).then(() => {
        closed = true;
      });
      worker.send('close one');
      await once(first.client, 'end');
      first.client.end();
      await t.message(worker);
      t.log('one left', await connections(server), closed);
      worker.send('close one');
      await once(second.client, 'end');
      second.client.end();
      await end;
      t.log('closed');
      worker.send('end');
    },
    worker(t) {
      endOnRequest();
      const sockets = [];
      process.on('message', (message, handle) => {
        if (handle) {
          sockets.push(handle.resume());
          process.send('taken');
        } else if (message === 'close one') {
          const socket = sockets.shift();
          socket.once('close', () => {
            t.log('socket closed');
            process.send('closed one');
          });
          socket.end();
        }
      });
    },
  },
  'server.close when the worker dies with a socket': {
    async primary(t) {
      const worker = t.fork();
      const server = await listen();
      const { accepted, client } = await pair(server);
      client.on('error', (error) => t.log('client', error.code));
      worker.send('take', accepted);
      await t.message(worker);
      const closed = close(server).then(() => t.log('server closed'));
      client.on('close', () => t.to('client')('closed'));
      worker.process.kill('SIGKILL');
      await closed;
      client.destroy();
    },
    worker() {
      process.on('message', (_message, socket) => {
        socket.resume();
        process.send('taken');
      });
    },
  },
  keepOpen: {
    async primary(t) {
      const worker = t.fork();
      const server = await listen();
      const { accepted, client } = await pair(server);
      const taken = t.message(worker);
      await sendAndWait(worker, 'share', accepted, { keepOpen: true });
      await taken;
      t.log('still ours', describe(accepted), await connections(server));
      const text = readAll(client);
      accepted.write('from the primary, ', () => worker.send('write'));
      await t.message(worker);
      accepted.end();
      t.log('client got', await text);
      client.end();
      worker.send('end');
      await close(server);
    },
    worker(t) {
      endOnRequest();
      let socket;
      process.on('message', (message, handle) => {
        if (handle) {
          socket = handle;
          t.log('message', message, describe(handle));
          process.send('taken');
        } else if (message === 'write') {
          socket.end('from the worker', () => process.send('written'));
          socket.destroySoon();
        }
      });
    },
  },
  'a destroyed socket': {
    async primary(t) {
      const worker = t.fork();
      const server = await listen();
      const { accepted, client } = await pair(server);
      accepted.destroy();
      t.log('callback', await sendAndWait(worker, 'no handle', accepted));
      client.destroy();
      await close(server);
      worker.send('end');
    },
    worker(t) {
      endOnRequest();
      process.on('message', (message, handle) => t.log('message', message, handle));
    },
  },
  'things without a handle': {
    async primary(t) {
      const worker = t.fork();
      const server = await listen();
      await close(server);
      worker.send('closed server', server);
      worker.send('new socket', new net.Socket());
      const { accepted, client } = await pairOnce();
      worker.send('first time', accepted);
      worker.send('second time', accepted);
      worker.send('server that never listened', net.createServer());
      client.destroy();
      worker.send('end');
    },
    worker(t) {
      endOnRequest();
      process.on('message', (message, handle) => {
        t.log('message', message, handle);
        handle?.destroy();
      });
    },
  },
  'a server to the worker': {
    async primary(t) {
      const worker = t.fork();
      const server = await listen();
      const { port } = server.address();
      worker.send('serve', server);
      const answer = await t.message(worker);
      t.log('answer', answer);
      await close(server);
      t.log('closed here');
      t.log('client got', await ask(port, 'one'), await ask(port, 'two'));
      worker.send('stop');
      await t.message(worker);
      t.log('client got', await ask(port));
      worker.send('end');
    },
    worker(t) {
      endOnRequest();
      let server;
      process.on('message', (message, handle) => {
        if (message === 'serve') {
          server = handle;
          t.log('message', describe(handle), handle.listenerCount('connection'));
          handle.on('connection', (socket) =>
            socket.once('data', (data) => socket.end(`worker got ${data}`)),
          );
          process.send('serving');
        } else if (message === 'stop') {
          server.close(() => process.send('stopped'));
        }
      });
    },
  },
  'a server to two workers': {
    async primary(t) {
      const workers = [t.fork(), t.fork()];
      const server = await listen();
      const { port } = server.address();
      for (const worker of workers) {
        worker.send('serve', server);
        await t.message(worker);
      }
      await close(server);
      const answers = new Set();
      for (let round = 0; round < 10; round++) answers.add((await ask(port)).split(' ')[0]);
      t.log('answers', [...answers].length >= 1);
      for (const worker of workers) worker.send('end');
    },
    worker() {
      process.on('message', (message, server) => {
        if (message === 'end') process.disconnect();
        else {
          server.on('connection', (socket) => socket.resume().end(`${process.env.PARITY_SIDE} here`));
          process.send('serving');
        }
      });
    },
  },
  // Not a Unix server: the worker asks the primary for the file descriptor of that number, which is another one there.
  'a Unix socket to the worker': {
    async primary(t) {
      const worker = t.fork();
      const file = path.join(SCRATCH, 'u1');
      const server = await listen({ path: file });
      const { accepted, client } = await pair(server);
      worker.send('socket', accepted);
      t.log('client got', await readAll(client));
      client.destroy();
      await close(server);
      worker.send('end');
    },
    worker(t) {
      endOnRequest();
      process.on('message', (message, handle) => {
        if (!handle) return;
        t.log('message', message, handle);
        handle.end('hello from the worker');
      });
    },
  },
  'a connection for an http server': {
    async primary(t) {
      const worker = t.fork();
      const server = net.createServer({ pauseOnConnect: true }, (socket) => worker.send('http', socket));
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const response = await fetch(`http://127.0.0.1:${server.address().port}/path`);
      t.log('response', response.status, await response.text());
      await close(server);
      t.log('closed');
      worker.send('end');
    },
    worker(t) {
      endOnRequest();
      const server = http.createServer((request, response) => {
        t.log('request', request.method, request.url);
        response.setHeader('connection', 'close');
        response.end('by the worker');
      });
      process.on('message', (_message, socket) => {
        if (socket) server.emit('connection', socket);
      });
    },
  },
  "an http request's socket, in the middle": {
    async primary(t) {
      const worker = t.fork();
      const server = http.createServer((request) => {
        request.socket.setTimeout(1000);
        worker.send(request.url, request.socket);
        t.log('detached', request.socket?._handle ?? null);
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const response = await fetch(`http://127.0.0.1:${server.address().port}/handed-over`);
      t.log('response', response.status, await response.text());
      // Not http's own close(): in Node 20 it fails on a connection that was handed over.
      await new Promise((resolve) => net.Server.prototype.close.call(server, resolve));
      worker.send('end');
    },
    worker(t) {
      endOnRequest();
      process.on('message', (message, socket) => {
        if (!socket) return;
        t.log('message', message);
        socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok');
      });
    },
  },
  'a datagram socket to the worker': {
    async primary(t) {
      const worker = t.fork();
      const socket = await bind('udp4', { port: 0, address: '127.0.0.1', exclusive: true });
      worker.send('read', socket);
      await t.message(worker);
      const { port } = socket.address();
      socket.close();
      const client = await bind('udp4', { port: 0, address: '127.0.0.1', exclusive: true });
      client.send('ping', port, '127.0.0.1');
      const [answer] = await once(client, 'message');
      t.log('answer', String(answer));
      client.close();
      worker.send('end');
    },
    worker(t) {
      endOnRequest();
      process.on('message', (message, handle) => {
        if (!handle) return;
        t.log('message', message, handle, describe(handle));
        handle.on('message', (text, { port, address }) => {
          handle.send(`got ${text}`, port, address, () => handle.close());
        });
        process.send('reading');
      });
    },
  },
  'raw handles to the worker': {
    async primary(t) {
      const worker = t.fork();
      const server = await listen();
      const { port } = server.address();
      worker.send('tcp', server._handle);
      await t.message(worker);
      t.log('still listening', server.listening);
      await close(server);
      t.log('client got', await ask(port));
      // Gone in Node 26, and with it the way to a raw UDP handle.
      const udp = dgram._createSocketHandle?.('127.0.0.1', 0, 'udp4');
      if (udp) {
        worker.send('udp', udp);
        await t.message(worker);
        udp.close();
      }
      worker.send('end');
    },
    worker(t) {
      endOnRequest();
      process.on('message', (message, handle) => {
        if (!handle) return;
        t.log('message', message, handle);
        if (message === 'udp') {
          handle.close();
          process.send('closed');
          return;
        }
        const server = net.createServer((socket) => {
          socket.end('by a raw handle');
          server.close();
        });
        server.listen(handle, () => process.send('listening'));
      });
    },
  },
  'a raw connection to the worker': {
    async primary(t) {
      const worker = t.fork();
      const server = await listen();
      const { accepted, client } = await pair(server);
      worker.send('raw', accepted._handle);
      t.log('client got', await readAll(client));
      client.destroy();
      accepted.destroy();
      await close(server);
      worker.send('end');
    },
    worker(t) {
      endOnRequest();
      process.on('message', (message, handle) => {
        if (!handle) return;
        t.log('message', message, handle);
        const socket = new net.Socket({ handle });
        socket.on('error', (error) => t.log('error', error.code));
        // end() and not only close(): the primary still holds it as well.
        socket.end('raw hello');
      });
    },
  },
  'a socket to the primary': {
    async primary(t) {
      const worker = t.fork({ quiet: true });
      const server = await listen({ port: 0, host: '127.0.0.1' }, (socket) => {
        socket.setEncoding('utf8').on('data', (text) => socket.end(`server got ${text}`));
      });
      worker.on('message', function (message, handle) {
        t.to('worker')('message', message, handle, describe(handle), this === worker);
      });
      worker.send(server.address().port);
      const [message, socket] = await t.message(worker);
      t.log('message', message, socket, describe(socket));
      // What comes before the worker has let go of the socket is read there and lost.
      await t.message(worker);
      socket.write('ping');
      t.log('answer', await readAll(socket));
      socket.destroy();
      await close(server);
      worker.send('end');
    },
    worker(t) {
      endOnRequest();
      process.on('message', async (port) => {
        if (port === 'end') return;
        const socket = await connect(port);
        process.send({ a: 'socket' }, socket, (...args) => t.log('callback', args, socket.destroyed));
        process.send('this one waits for the acknowledgement');
      });
    },
  },
  'a server to the primary': {
    async primary(t) {
      const worker = t.fork();
      const [message, server] = await t.message(worker);
      t.log('message', message, server, describe(server));
      server.on('connection', (socket) => socket.end('by the primary'));
      const { port } = server.address();
      worker.send('close');
      await t.message(worker);
      t.log('client got', await ask(port));
      await close(server);
      worker.send('end');
    },
    async worker(t) {
      endOnRequest();
      const server = await listen({ port: 0, host: '127.0.0.1', exclusive: true });
      process.on('message', (message) => {
        if (message === 'close') server.close(() => process.send('closed'));
      });
      process.send('a server', server, (...args) => t.log('callback', args, server.listening));
    },
  },
  'a datagram socket to the primary': {
    async primary(t) {
      const worker = t.fork();
      const [message, socket] = await t.message(worker);
      t.log('message', message, socket, describe(socket));
      const client = await bind('udp4', { port: 0, address: '127.0.0.1', exclusive: true });
      worker.send('close');
      await t.message(worker);
      client.send('ping', socket.address().port, '127.0.0.1');
      const [text] = await once(socket, 'message');
      t.log('got', String(text));
      client.close();
      socket.close();
      worker.send('end');
    },
    async worker() {
      endOnRequest();
      const socket = await bind('udp4', { port: 0, address: '127.0.0.1', exclusive: true });
      process.on('message', (message) => {
        if (message === 'close') socket.close(() => process.send('closed'));
      });
      process.send('a datagram socket', socket);
    },
  },
  'raw handles to the primary': {
    async primary(t) {
      const worker = t.fork();
      const [message, handle] = await t.message(worker);
      t.log('message', message, handle);
      const server = net.createServer((socket) => socket.end('by the primary')).listen(handle);
      await once(server, 'listening');
      const { port } = server.address();
      worker.send('close');
      await t.message(worker);
      t.log('client got', await ask(port));
      await close(server);
      worker.send('end');
    },
    async worker() {
      endOnRequest();
      const server = await listen({ port: 0, host: '127.0.0.1', exclusive: true });
      process.on('message', (message) => {
        if (message === 'close') server.close(() => process.send('closed'));
      });
      process.send('raw', server._handle);
    },
  },
  'handles and messages keep their order': {
    async primary(t) {
      const worker = t.fork();
      const server = await listen();
      const pairs = [];
      for (let index = 0; index < 6; index++) pairs.push(await pair(server));
      await t.message(worker);
      const results = pairs.flatMap(({ accepted }, index) => [
        worker.send(`handle ${index}`, accepted, (...args) => t.to('callbacks')('of a handle', index, args)),
        worker.send(`message ${index}`, (...args) => t.to('callbacks')('of a message', index, args)),
      ]);
      t.log('results', results);
      worker.send('end');
      for (const { client } of pairs) t.log('client got', await readAll(client));
      for (const { client } of pairs) client.destroy();
      await close(server);
    },
    worker(t) {
      process.on('message', (message, handle) => {
        t.log('message', message, handle);
        handle?.end(message);
        if (message === 'end') setImmediate(() => process.disconnect());
      });
      process.send('ready');
    },
  },
  'handles to the primary keep their order': {
    async primary(t) {
      const worker = t.fork();
      const server = await listen();
      worker.on('message', (_message, socket) => socket?.destroy());
      server.on('connection', (socket) => socket.resume());
      worker.send(server.address().port);
      await once(worker, 'disconnect');
      await close(server);
      t.log('closed');
    },
    async worker(t) {
      const [port] = await once(process, 'message');
      for (let index = 0; index < 5; index++) {
        const socket = await connect(port);
        process.send(`handle ${index}`, socket, (...args) => t.log('callback', index, args));
        process.send(`message ${index}`);
      }
      process.send('end', () => process.disconnect());
    },
  },
  'disconnecting with handles on the way': {
    async primary(t) {
      const worker = t.fork();
      const server = await listen();
      const pairs = [await pair(server), await pair(server), await pair(server)];
      await t.message(worker);
      for (const { accepted } of pairs) worker.send('take', accepted);
      worker.send('last message');
      worker.process.disconnect();
      t.log('connected', worker.process.connected);
      for (const { client } of pairs) t.log('client got', await readAll(client));
      for (const { client } of pairs) client.destroy();
      await close(server);
    },
    worker(t) {
      process.on('message', (message, handle) => {
        t.log('message', message, handle);
        handle?.end('served');
      });
      process.send('ready');
    },
  },
});

async function pairOnce() {
  const server = await listen();
  const result = await pair(server);
  server.close();
  return result;
}
