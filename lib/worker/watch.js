'use strict';

// `node --watch` has every process tell its parent of each file that it loads. The parent of a worker is the program, which
// got a 'message' for every file of corral's.

/** By this a process knows that it is watched. */
const WATCHED = 'WATCH_REPORT_DEPENDENCIES';

/** Where corral's files are. No module is needed to know it, of which there would be a message. */
const directory = __dirname.slice(0, -'lib/worker'.length);

/** Keeps what Node says of corral's own files from the program. To be called before they are loaded. */
function hideOwnFiles() {
  const original = /** @type {Function | undefined} */ (process.send);
  if (!process.env[WATCHED] || original === undefined) return;
  process.send = /** @this {any} */ function send(/** @type {any[]} */ ...args) {
    const files = args[0]?.['watch:require'];
    // Node's own modules have no file: undefined here, null for whoever gets the message.
    const isOwn = (/** @type {string | undefined} */ file) =>
      file === undefined || file?.startsWith?.(directory);
    if (Array.isArray(files) && files.length > 0 && files.every(isOwn)) return true;
    return Reflect.apply(original, this, args);
  };
}

module.exports = { hideOwnFiles };
