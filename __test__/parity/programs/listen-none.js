'use strict';
// Serialization: json

// Servers in workers that share one socket, on which each accepts by itself.

const cluster = require(process.env.PARITY_MODULE);

if (cluster.isPrimary) cluster.schedulingPolicy = cluster.SCHED_NONE;
require('../listen-cases.js');
