'use strict';

// Children whose parents have ended belong to process 1 of a container, and stay zombies until that one takes note of their end. Node
// does so for those that it has started, and for no others.

const fs = require('node:fs');

/** How often it is looked for zombies, in milliseconds. Node takes note of its own at once: who is found twice is nobody's. */
const INTERVAL = 1_000;

/**
 * @param {number} parent
 * @returns {number[]} its children that have ended and of which nobody has taken note
 */
function zombiesOf(parent) {
  const numbers = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return numbers.map(Number).filter((pid) => {
    let stat;
    try {
      stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    } catch {
      // It has gone meanwhile.
      return false;
    }
    // Behind the name, which may have anything in it: the state and the parent.
    const [state, ppid] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return state === 'Z' && Number(ppid) === parent;
  });
}

/**
 * Takes note of the end of orphans, if this process gets any.
 *
 * @param {Pick<import('../lib/native').Binding, 'getsOrphans' | 'reap'>} native
 */
function reapOrphans(native) {
  if (!native.getsOrphans()) return;
  /** @type {Set<number>} */
  let seen = new Set();
  setInterval(() => {
    const zombies = zombiesOf(process.pid);
    seen = new Set(zombies.filter((pid) => !(seen.has(pid) && native.reap(pid))));
  }, INTERVAL).unref();
}

module.exports = { reapOrphans, zombiesOf };
