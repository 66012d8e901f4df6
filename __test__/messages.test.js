'use strict';

// Messages between two corrals: a primary and its workers, and workers among themselves.

const { describe } = require('node:test');
const { programs } = require('./helpers/programs');

describe('messages between corrals', { concurrency: 2 }, () => programs('messages/between-corrals'));
describe('workers that talk to each other', { concurrency: 2 }, () => programs('messages/peers'));
describe('requests', { concurrency: 2 }, () => programs('messages/requests'));
