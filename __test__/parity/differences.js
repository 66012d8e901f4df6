'use strict';

// Where corral is deliberately stronger than Node, and how a trace of Node's is brought to what corral promises.
// Nothing else may differ.

/** @typedef {[event: string, ...values: any[]]} Entry */

/**
 * Node leaves to chance in which order it sees a worker's last messages, the end of its channel and its exit. corral
 * promises: messages, then 'disconnect', then 'exit'. So an 'exit' that came early is put behind the last 'disconnect'
 * and a message that came late before the first.
 *
 * @param {Entry[]} entries a lane
 * @returns {Entry[]}
 */
function messagesThenDisconnectThenExit(entries) {
  const is = (/** @type {RegExp} */ kind) => (/** @type {Entry} */ [event]) => kind.test(event);
  const disconnect = is(/^(worker|cluster) disconnect$/);
  const exit = is(/^(worker|cluster) exit$/);
  const message = is(/^(worker|cluster) message$/);
  const first = entries.findIndex((entry) => disconnect(entry) || exit(entry));
  const last = entries.findLastIndex((entry) => disconnect(entry) || exit(entry));
  if (first === -1) return entries;
  const tail = entries.slice(first, last + 1);
  const others = tail.filter((entry) => !disconnect(entry) && !exit(entry) && !message(entry));
  return [
    ...entries.slice(0, first),
    ...tail.filter(message),
    ...tail.filter(disconnect),
    ...(others.length > 0 ? others : []),
    ...tail.filter(exit),
    ...entries.slice(last + 1),
  ];
}

/**
 * One lane of one program that may differ, and why.
 *
 * @typedef {object} Difference
 * @property {string} program
 * @property {RegExp} lane
 * @property {string} why
 * @property {(entries: Entry[]) => Entry[]} adjust from what Node does to what corral promises
 */

/** @type {Difference[]} */
const DIFFERENCES = [
  {
    program: 'disconnect',
    lane: /\/callback time$/,
    why: 'Node calls back when the first worker has gone; the documentation, and corral, wait for all',
    adjust: (entries) => entries.map(([event]) => [event, 0]),
  },
  {
    program: 'listen-none',
    lane: /writableAll\/mode$/,
    why: 'on Node 20 a shared socket gets neither readableAll nor writableAll; documented for both policies',
    adjust: () => [['mode', '777']],
  },
];

/**
 * @param {string} program
 * @param {string} lane
 * @param {Entry[]} entries of the built-in
 * @returns {Entry[]} of corral
 */
function promised(program, lane, entries) {
  const matching = DIFFERENCES.filter((difference) => difference.program === program && difference.lane.test(lane));
  return matching.reduce((result, { adjust }) => adjust(result), messagesThenDisconnectThenExit(entries));
}

module.exports = { promised };
