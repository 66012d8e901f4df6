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
  const is =
    (/** @type {RegExp} */ kind) =>
    (/** @type {Entry} */ [event]) =>
      kind.test(event);
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

const ALL =
  'Node adds these bits to the mode only in round robin on Node 20; later the mode is nothing but them, so that the ' +
  'owner loses his, and shared sockets ignore both options everywhere. corral adds them always';

const TOO_LONG = 'Node 20 and 22 cut such a path off and bind what is left; 24, 26 and corral refuse it';

/**
 * The error that Node 24 and 26 give for a path that is too long, where Node 20 and 22 say that they listen.
 *
 * @param {Entry[]} entries what the worker saw
 * @returns {Entry[]}
 */
function refuseTooLong(entries) {
  const [event, listening, address] = entries[0];
  if (event !== 'listening' || !listening) return entries;
  const rest = { address, code: 'EINVAL', errno: -22, port: -1, syscall: 'bind' };
  const error = { $error: 'Error', message: `bind EINVAL ${address}`, ...rest };
  return [
    ['error', error],
    ['listening', false, address],
  ];
}

/**
 * The same as the primary sees it: there is no 'listening', and the worker's state is not that.
 *
 * @param {Entry[]} entries
 * @returns {Entry[]}
 */
function neverListening(entries) {
  return entries
    .filter(([event]) => !/ listening$/.test(event))
    .map(([event, ...values]) => {
      return [
        event,
        ...values.map((value) => (value?.state === 'listening' ? { ...value, state: 'online' } : value)),
      ];
    });
}

/** @type {Difference[]} */
const DIFFERENCES = [
  {
    program: 'disconnect',
    lane: /\/callback time$/,
    why: 'Node calls back when the first worker has gone; the documentation, and corral, wait for all',
    adjust: (entries) => entries.map(([event]) => [event, 0]),
  },
  ...['listen-rr', 'listen-none'].flatMap((program) => [
    { program, lane: /^readableAll\/mode$/, why: ALL, adjust: () => [['mode', '755']] },
    { program, lane: /writableAll\/mode$/, why: ALL, adjust: () => [['mode', '777']] },
    { program, lane: /that is too long\/worker-1$/, why: TOO_LONG, adjust: refuseTooLong },
    { program, lane: /that is too long\/of-worker-1$/, why: TOO_LONG, adjust: neverListening },
  ]),
];

/**
 * @param {string} program
 * @param {string} lane
 * @param {Entry[]} entries of the built-in
 * @returns {Entry[]} of corral
 */
function promised(program, lane, entries) {
  const matching = DIFFERENCES.filter(
    (difference) => difference.program === program && difference.lane.test(lane),
  );
  return matching.reduce((result, { adjust }) => adjust(result), messagesThenDisconnectThenExit(entries));
}

module.exports = { promised };
