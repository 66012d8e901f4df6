'use strict';

// Scheduling policies: which there are, for which servers, and what each does.

const { describe } = require('node:test');
const { programs } = require('../helpers/programs');

describe('policies of servers', { concurrency: 2 }, () => programs('policies/servers'));

describe('weights', { concurrency: 2 }, () => programs('policies/weights'));

describe("sockets of the workers' own", { concurrency: 2 }, () => programs('policies/reuse-port'));

describe('the least load', { concurrency: 2 }, () => programs('policies/least'));
describe('clients that belong to a worker', { concurrency: 2 }, () => programs('policies/sticky'));

describe('clients of several workers on one connection', { concurrency: 2 }, () => programs('policies/kept'));

describe("policies of the program's own", { concurrency: 2 }, () => programs('policies/own'));

describe('clients of a worker, and what else decides', { concurrency: 2 }, () => programs('policies/beside'));
