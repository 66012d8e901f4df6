'use strict';

// `corral/net` in place of `net`: everything that `net` has.

const net = require('node:net');

// By their descriptors: some of Node's are getters that load what they give.
Object.defineProperties(exports, Object.getOwnPropertyDescriptors(net));
