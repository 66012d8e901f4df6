'use strict';

// The addons of the repository. Each is a crate of the workspace, has a binary <name>.<platform>.node in the root, and
// is built by itself. A platform's package under npm/ carries the binaries of all.

/** What decides on every build: the workspace's own files. */
const SHARED = ['Cargo.toml', 'Cargo.lock', 'rust-toolchain.toml', '.cargo'];

/**
 * @typedef {object} Addon
 * @property {string} name of the crate, and of the binary before its platform
 * @property {string} manifest its Cargo.toml
 * @property {string[]} sources what it is built from; a directory counts with all its files
 * @property {string} types the file that the build writes: what the addon exports
 * @property {string} [loader] the file that the build writes for loading it; without one, `lib/addon.js` does that
 */

/** @type {Addon[]} */
const ADDONS = [
  {
    name: 'corral',
    manifest: 'Cargo.toml',
    sources: [...SHARED, 'build.rs', 'src'],
    types: 'binding.d.ts',
    loader: 'binding.js',
  },
  {
    name: 'corral-bus',
    manifest: 'bus/Cargo.toml',
    sources: [...SHARED, 'bus'],
    types: 'lib/bus/binding.d.ts',
  },
  {
    name: 'corral-redis',
    manifest: 'redis/Cargo.toml',
    sources: [...SHARED, 'redis', 'bus'],
    types: 'lib/bus/redis-binding.d.ts',
  },
  {
    name: 'corral-observe',
    manifest: 'observe/Cargo.toml',
    // What it sees of the core is described there.
    sources: [...SHARED, 'observe', 'bus', 'src/observation.rs', 'src/link.rs'],
    types: 'lib/observe/binding.d.ts',
  },
];

module.exports = { ADDONS };
