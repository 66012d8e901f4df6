'use strict';

const { install } = require('./lib/install');

module.exports = install();
