'use strict';

// The cluster object itself.

const { describe } = require('node:test');
const { programs } = require('./helpers/programs');

describe('the cluster object', { concurrency: 2 }, () => programs('api/cluster'));

describe('a primary inside something else', { concurrency: 2 }, () => programs('api/nested'));
