'use strict';

// What a cluster publishes on channels of node:diagnostics_channel.

const { describe } = require('node:test');
const { programs } = require('../helpers/programs');

describe('diagnostics', { concurrency: 2 }, () => programs('diagnostics/lanes'));
describe('diagnostics of lives', { concurrency: 2 }, () => programs('diagnostics/lives'));
describe("diagnostics of lives on Node's own cluster", { concurrency: 2 }, () =>
  programs('diagnostics/lives', { CORRAL_NATIVE: '0' }),
);
