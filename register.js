'use strict';

// `node --require corral/register app.js`, for programs that cannot be edited. It does what `require('corral')` does.

require('./lib/install').install();
