'use strict';

// Loads an addon beside the core's own, when a module is asked for that needs it. `binding.js`, which the build writes,
// loads the core.

const fs = require('node:fs');
const path = require('node:path');
const { version } = require('../package.json');
const { whyUnfit } = require('./runtime');
const { ownPlatform, whyNoBinary } = require('./why-no-binary');

/**
 * @template {{ version(): string }} T
 * @param {string} name of the addon
 * @returns {{ native: T | undefined, reason: string }} why there is none; empty if there is one
 */
function loadAddon(name) {
  const unfit = whyUnfit();
  if (unfit !== '') return { native: undefined, reason: unfit };
  const platform = ownPlatform();
  const file = `${name}.${platform}.node`;
  const beside = path.join(path.dirname(__dirname), file);
  try {
    const native = require(fs.existsSync(beside) ? beside : `corral-${platform}/${file}`);
    // Another version has another binding: calling it would fail later and less clearly.
    if (native.version() === version) return { native, reason: '' };
    const reason = `${file} is version ${native.version()}, and this is corral ${version}`;
    return { native: undefined, reason };
  } catch (error) {
    return { native: undefined, reason: whyNoBinary(error, name) };
  }
}

module.exports = { loadAddon };
