'use strict';

const { after, before } = require('node:test');
const { connect } = require('../../bus');
const { RedisServer, command } = require('../helpers/redis');
const { contract, place } = require('./contract');

/** @type {RedisServer} */
let server;

before(async () => {
  server = await new RedisServer().start();
});

after(() => server.remove());

contract({
  name: 'redis',
  reported: 'redis',
  async start(t) {
    await command(server, 'FLUSHALL');
    return place(t, (options) => connect(server.url, options));
  },
});
