'use strict';

// The lane: connections to workers that load corral.

const { describe } = require('node:test');
const { programs } = require('../helpers/programs');

describe('lanes', { concurrency: 2 }, () => programs('lane/lanes'));

describe('policies, with lanes', { concurrency: 2 }, () => programs('lane/policies'));

describe('kept connections', { concurrency: 2 }, () => programs('lane/keep-alive'));
