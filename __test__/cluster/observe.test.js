'use strict';

// What `cluster.observe` serves.

const { describe } = require('node:test');
const { programs } = require('../helpers/programs');

describe('observe: answers', { concurrency: 2 }, () => programs('observe/answers'));
describe('observe: who may ask', { concurrency: 2 }, () => programs('observe/guard'));
describe('observe: clients that do harm', { concurrency: 2 }, () => programs('observe/clients'));
describe('observe: numbers', { concurrency: 2 }, () => programs('observe/numbers'));
describe('observe: blocks', { concurrency: 2 }, () => programs('observe/blocks'));
describe('observe: page', { concurrency: 1 }, () => programs('observe/page'));
describe('observe: metrics of the program', { concurrency: 2 }, () => programs('observe/program'));
describe('observe: events', { concurrency: 2 }, () => programs('observe/events'));
describe('observe: buses', { concurrency: 2 }, () => programs('observe/buses'));
describe('observe: Prometheus', { concurrency: 1 }, () => programs('observe/prometheus'));
