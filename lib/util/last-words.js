'use strict';

// Messages of a process's last turn are written before the process ends, in each way of ending: process.exit(), also in a listener
// for 'exit', an exception, a signal of its own, and becoming another program.

/** @typedef {'perhaps' | 'now'} End whether the process may go on */

/** @type {((end: End) => void)[]} */
const speakers = [];

/** @param {End} end */
function speak(end) {
  for (const speaker of speakers) speaker(end);
}

/**
 * @param {string} name of a method of process, which not every version, nor a worker thread, has
 * @param {End} end
 */
function speakBefore(name, end) {
  /** @type {any} */
  const target = process;
  const original = target[name];
  if (typeof original !== 'function') return;
  const { prototype: _, ...own } = Object.getOwnPropertyDescriptors(original);
  const speaking = (/** @type {any[]} */ ...args) => {
    speak(end);
    return Reflect.apply(original, process, args);
  };
  target[name] = Object.defineProperties(speaking, own);
}

/** Once per process, or thread. */
function listen() {
  // In front of the program's: these may exit, or throw, and what they send goes out at once.
  process.prependListener('exit', () => speak('now'));
  // Also of what is thrown in a listener for 'exit', after which there is no other event.
  process.on('uncaughtExceptionMonitor', () => speak('perhaps'));
  for (const name of ['abort', 'execve', 'kill']) speakBefore(name, 'perhaps');
  // process.exit() comes by here, too.
  speakBefore('reallyExit', 'now');
}

/**
 * @param {(end: End) => void} speaker writes what has been sent, each time that it is called
 */
function beforeEnd(speaker) {
  if (speakers.push(speaker) === 1) listen();
}

module.exports = { beforeEnd };
