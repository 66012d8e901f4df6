'use strict';

// Whatever another process writes is input from outside: nothing in it is believed before it has been looked at.

const { describe } = require('node:test');
const { programs } = require('../helpers/programs');

describe('names of properties', { concurrency: 2 }, () => programs('input/keys'));
describe('descriptors', { concurrency: 2 }, () => programs('input/handles'));
describe('internal messages', { concurrency: 2 }, () => programs('input/internal'));
describe('other runtimes and versions', { concurrency: 2 }, () => programs('input/foreign'));
