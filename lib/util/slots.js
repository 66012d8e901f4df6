'use strict';

// The places of workers that a supervisor has given them. It sets them when it forks, and whoever observes the cluster reads them.

/** @type {WeakMap<object, number>} */
const slots = new WeakMap();

module.exports = { slots };
