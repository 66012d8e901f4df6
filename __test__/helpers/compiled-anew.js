'use strict';

const vm = require('node:vm');

/**
 * A function that is compiled anew for each call. What V8 has compiled into its caller before a profile begins is not in that
 * profile: it does so with whatever is called often.
 *
 * @param {string} source of a function
 * @returns {(...args: any[]) => any}
 */
function compiledAnew(source) {
  let count = 0;
  return (...args) => vm.runInThisContext(`(${source}) // ${count++}`)(...args);
}

module.exports = { compiledAnew };
