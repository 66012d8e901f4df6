'use strict';

// A worker's end of the socket to whoever observes its cluster: profiles that are asked for, and the program's own metrics. What the JavaScript does is asked of
// V8 by the core's own thread, which needs nothing of this.

/** How often a profile looks at what is running, in microseconds. */
const SAMPLING_INTERVAL = 1000;
/** How long to wait until what the primary has not read yet is sent, in milliseconds. */
const FLUSH_PAUSE = 10;

/** @typedef {import('../../binding').NativeLink} NativeLink */

/** The one to whoever observes now. @type {NativeLink | undefined} */
let current;
/** @type {import('node:inspector').Session | undefined} */
let session;

/**
 * @param {typeof import('../../binding')} native
 * @param {number} descriptor
 * @param {(publish: (text: string) => boolean) => void} onOpen gives the program's metrics to a function from now on, which returns
 *   whether anybody reads them
 */
function openLink(native, descriptor, onOpen) {
  current?.close();
  const link = new native.NativeLink(descriptor, () => {
    for (const { id, milliseconds } of link.takeRequests()) answer(link, id, milliseconds);
  });
  current = link;
  onOpen((text) => {
    send(link, link.publish(text));
    return link.isOpen;
  });
}

/**
 * @param {NativeLink} link
 * @param {number} id of the request
 * @param {number} milliseconds
 */
async function answer(link, id, milliseconds) {
  try {
    send(link, link.answer(id, JSON.stringify(await profile(milliseconds)), false));
  } catch (error) {
    send(link, link.answer(id, /** @type {Error} */ (error).message, true));
  }
}

/**
 * @param {NativeLink} link
 * @param {boolean} isBehind whether there is something left to be sent
 */
function send(link, isBehind) {
  if (isBehind) setTimeout(() => send(link, link.flush()), FLUSH_PAUSE).unref();
}

/**
 * @param {number} milliseconds
 * @returns {Promise<object>} a .cpuprofile
 */
async function profile(milliseconds) {
  if (session !== undefined) throw new Error('another profile of this worker is being taken');
  // It takes a quarter of a mebibyte, and most programs need none of it.
  const inspector = require('node:inspector');
  session = new inspector.Session();
  try {
    session.connect();
    await post('Profiler.enable');
    await post('Profiler.setSamplingInterval', { interval: SAMPLING_INTERVAL });
    await post('Profiler.start');
    await new Promise((resolve) => setTimeout(resolve, milliseconds).unref());
    return (await post('Profiler.stop')).profile;
  } finally {
    // One that is left makes the process wait for a debugger when it ends.
    session.disconnect();
    session = undefined;
  }
}

/**
 * @param {string} method
 * @param {object} [params]
 * @returns {Promise<any>}
 */
function post(method, params = {}) {
  return new Promise((resolve, reject) => {
    const done = (/** @type {Error | null} */ error, /** @type {any} */ result) =>
      error ? reject(error) : resolve(result);
    /** @type {any} */ (session).post(method, params, done);
  });
}

module.exports = { openLink };
