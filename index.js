'use strict';

const EventEmitter = require('node:events');

const { install } = require('./lib/install');

module.exports = install(new EventEmitter());
