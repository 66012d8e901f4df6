'use strict';

// What runs this process: Node, or a runtime that has Node's modules and is none. Nothing is tried out to know it: Bun has the
// functions of libuv by name, and ends a process that calls them. And whether corral has addons for it.

/** The runtimes that are known not to run the core, by their names in `process.versions`, and why they do not. */
const OTHERS = [
  { key: 'bun', name: 'Bun', lack: 'has no event loop of libuv' },
  { key: 'deno', name: 'Deno', lack: 'keeps the descriptors of sockets to itself' },
];

/** '0' in this variable of the environment turns the addons off. */
const VARIABLE = 'CORRAL_NATIVE';

/**
 * Where corral has a binary, as `process.platform` and `process.arch` say it; package.json lists the same as
 * triples. The generated loader would look for packages of ours that do not exist on any other platform.
 */
const PLATFORMS = ['linux-x64', 'linux-arm64', 'darwin-x64', 'darwin-arm64'];

/** The oldest major version of Node that corral is made for and tested on: `engines` in package.json. */
const OLDEST = 20;

const platform = `${process.platform}-${process.arch}`;

/** The version of Node-API that the core is written for. */
const NODE_API = 8;

/** Which of them this is; undefined for Node, and for what is not known. */
const other = OTHERS.find(({ key }) => process.versions[key] !== undefined);

/** Whose modules are behind the names of Node's: `node:cluster` is this one's. */
const runtimeName = other?.name ?? 'Node';

/** @returns {string} why this runtime cannot run the core; empty if nothing says so */
function whyNot() {
  if (other !== undefined)
    return `${other.name} ${process.versions[other.key]} ${other.lack}, which the core needs`;
  const { napi } = process.versions;
  if (Number(napi) >= NODE_API) return '';
  const found = napi === undefined ? 'has no Node-API' : `has version ${napi} of Node-API`;
  return `this runtime (${process.version}) ${found}, and the core needs version ${NODE_API}`;
}

/** @returns {string} why no addon of corral's can be loaded in this process; empty if one may be */
function whyUnfit() {
  if (process.env[VARIABLE] === '0') return `${VARIABLE}=0 is set`;
  const unfit = whyNot();
  if (unfit !== '') return unfit;
  if (isOld()) return `Node ${process.versions.node} is too old: corral needs ${OLDEST} or newer`;
  return PLATFORMS.includes(platform) ? '' : `there is no binary for ${platform}`;
}

function isOld() {
  return Number(process.versions.node.split('.')[0]) < OLDEST;
}

module.exports = { isNode: other === undefined, runtimeName, whyUnfit };
