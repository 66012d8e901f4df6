'use strict';

// The channel between the primary and a worker: its life, and the handles that it carries.

const { describe } = require('node:test');
const { programs } = require('../helpers/programs');

describe('life of a channel', { concurrency: 2 }, () => programs('channel/life'));

describe('channels that JavaScript reads itself', { concurrency: 2 }, () => programs('channel/direct'));

describe('large messages to plain workers', { concurrency: 2 }, () => programs('channel/large'));

describe('handles', { concurrency: 2 }, () => programs('channel/handles'));

describe('bound sockets', { concurrency: 2 }, () => programs('channel/bound-sockets'));

describe('what AsyncLocalStorage has in events', { concurrency: 2 }, () => programs('channel/stores'));
