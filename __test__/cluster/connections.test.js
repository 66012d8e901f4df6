'use strict';

// Who gets which connection, from where, and what the primary does with those that nobody wants yet.

const { describe } = require('node:test');
const { programs } = require('../helpers/programs');

describe('who gets a connection', { concurrency: 2 }, () => programs('connections/shares'));

describe('where servers listen', { concurrency: 2 }, () => programs('connections/addresses'));

describe('who gets a connection, on the channel', { concurrency: 2 }, () =>
  programs('connections/shares', { CORRAL_LANE: '0' }),
);

describe('what is served, on the channel', { concurrency: 2 }, () =>
  programs('connections/servers', { CORRAL_LANE: '0' }),
);

describe('what is served', { concurrency: 2 }, () => programs('connections/servers'));

describe('what a worker asks for twice', { concurrency: 2 }, () => programs('connections/twice'));

describe('servers with reusePort', { concurrency: 2 }, () => programs('connections/reuse-port'));
