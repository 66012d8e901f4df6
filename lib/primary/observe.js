'use strict';

// `cluster.observe()` and `cluster.profile()`. What they need is loaded when it is asked for.

/** @param {import('./cluster').Primary} primary */
function addObserve(primary) {
  const { cluster } = primary;
  const use = (/** @type {string} */ what) => {
    const { Observation } = require('../observe/observation');
    return Observation.use(primary, what);
  };
  cluster.observe = (/** @type {unknown} */ options) => {
    const { Observer } = require('../observe/observer');
    return new Observer(() => use('cluster.observe'), options);
  };
  cluster.profile = (/** @type {unknown} */ worker, /** @type {unknown} */ options = {}) => {
    const { profile } = require('../observe/profile');
    return profile(primary, () => use('cluster.profile'), worker, options);
  };
}

module.exports = { addObserve };
