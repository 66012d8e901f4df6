'use strict';
// Serialization: json advanced

// Servers in workers whose connections the primary accepts and hands out.

require('../listen-cases.js');
