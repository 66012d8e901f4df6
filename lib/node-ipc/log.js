'use strict';

// ipc.log

const util = require('node:util');

/**
 * @param {import('../../node-ipc').Config} config
 * @param {unknown[]} parts
 */
function log(config, parts) {
  if (config.silent) return;
  const options = { depth: config.logDepth, colors: config.logInColor };
  // Undefined leaves a gap: programs write 'text'.rainbow and have no colours installed.
  const texts = parts.map((part) =>
    typeof part === 'object' ? util.inspect(part, options) : String(part ?? ''),
  );
  config.logger(texts.join(' '));
}

module.exports = { log };
