'use strict';
// Serialization: json advanced
// Lanes: with without

// Servers in workers whose connections the primary accepts and hands out.

require('../listen-cases.js');
