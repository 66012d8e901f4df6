'use strict';

// A client of an HTTP server that keeps its one connection, and a worker's program for it.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');

const { connect } = require('./clients');
const { blockUntil, until } = require('./events');

/** A client with one connection. Every request after the first must find it still open. */
class KeptClient {
  #port;
  #agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  #hasAsked = false;
  #localAddress;

  /**
   * @param {number} port
   * @param {string} [localAddress] from where it connects
   */
  constructor(port, localAddress) {
    this.#port = port;
    this.#localAddress = localAddress;
  }

  /**
   * @param {string} [url]
   * @param {string} [body] to POST
   * @returns {Promise<string>} the answer
   */
  ask(url = '/', body = undefined) {
    const isReused = this.#hasAsked;
    this.#hasAsked = true;
    return new Promise((resolve, reject) => {
      const method = body === undefined ? 'GET' : 'POST';
      const where = { host: '127.0.0.1', port: this.#port, localAddress: this.#localAddress };
      const options = { ...where, agent: this.#agent, path: url, method };
      const request = http.request(options, (response) => {
        let answer = '';
        response.setEncoding('latin1').on('data', (part) => {
          answer += part;
        });
        response.on('end', () => {
          assert.equal(request.reusedSocket, isReused);
          resolve(answer);
        });
      });
      request.on('error', reject).end(body);
    });
  }

  end() {
    this.#agent.destroy();
  }
}

/** A client with one connection, on which it writes what a test has it write. */
class RawClient {
  socket;
  #received = '';
  #isOpen = true;

  /** @param {any} where a port, or what net.connect takes */
  constructor(where) {
    this.socket = connect(where).setEncoding('latin1').setNoDelay();
    this.socket.on('data', (part) => {
      this.#received += part;
    });
    this.socket.on('close', () => {
      this.#isOpen = false;
    });
  }

  /** @param {string} text */
  write(text) {
    this.socket.write(text, 'latin1');
  }

  /** @returns {Promise<{ head: string, body: string }>} the next answer, whose length its head says */
  async answer() {
    /** @type {{ head: string, body: string } | undefined} */
    let found;
    await until(() => {
      found = this.#next();
      return found !== undefined || !this.#isOpen;
    });
    if (found === undefined)
      throw new Error(`the connection was closed after ${JSON.stringify(this.#received)}`);
    return found;
  }

  #next() {
    const [head, ...rest] = this.#received.split('\r\n\r\n');
    if (rest.length === 0) return undefined;
    const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
    const end = head.length + 4 + length;
    if (this.#received.length < end) return undefined;
    const body = this.#received.slice(head.length + 4, end);
    this.#received = this.#received.slice(end);
    return { head, body };
  }

  /** @param {string} request @returns {Promise<string>} the body of the answer */
  async ask(request) {
    this.write(request);
    return (await this.answer()).body;
  }

  /** What it has received beyond the answers that were read. */
  get received() {
    return this.#received;
  }

  end() {
    this.socket.destroy();
  }
}

/**
 * Clients whose connections rest.
 *
 * @param {any} cluster
 * @param {number} port
 * @param {number} count
 */
async function restingClients(cluster, port, count) {
  const before = keptCount(cluster);
  const clients = Array.from({ length: count }, () => new KeptClient(port));
  // Each worker gets some.
  await Promise.all(clients.map((client) => client.ask()));
  await until(() => keptCount(cluster) === before + count);
  return clients;
}

/** @param {any} cluster how many connections of its workers the primary could give to others */
function keptCount(cluster) {
  return cluster
    .stats()
    .workers.reduce((/** @type {number} */ sum, /** @type {any} */ { kept }) => sum + kept, 0);
}

/**
 * A worker's program: an HTTP server that answers with the worker's id, and does what the path says before. The worker blocks
 * at a message until `release`.
 *
 * @param {any} context
 */
function serveKept({ cluster, scratch }) {
  const { id } = cluster.worker;
  const server = http.createServer((request, response) => {
    const { socket } = request;
    if (request.url === '/listener') socket.on('close', () => {});
    if (request.url === '/property') Object.assign(socket, { session: {} });
    if (request.url === '/timeout') {
      // Otherwise the server's own is what counts between requests.
      server.keepAliveTimeout = 0;
      socket.setTimeout(60_000);
    }
    if (request.url === '/unread') return void response.end(`${id}`);
    request.resume().on('end', () => response.end(`${id}`));
  });
  server.listen(0, '127.0.0.1');
  process.on('message', (/** @type {any} */ message) => {
    if (message === 'clientError') server.on('clientError', () => {});
    if (message === 'maxRequestsPerSocket') server.maxRequestsPerSocket = 100;
    if (message === 'seen') return undefined;
    if (message === 'getConnections') return server.getConnections((_error, count) => process.send?.(count));
    if (message !== 'block') return process.send?.('done');
    fs.writeFileSync(path.join(scratch, `blocked-${id}`), '');
    blockUntil(() => fs.existsSync(path.join(scratch, `go-${id}`)));
    return undefined;
  });
  return server;
}

module.exports = { KeptClient, RawClient, keptCount, restingClients, serveKept };
