'use strict';

// What the documents say of codes, numbers, events, files and of each other, held against the code.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const vm = require('node:vm');

const root = path.dirname(__dirname);

/** @param {string} file */
function read(file) {
  return fs.readFileSync(path.join(root, file), 'utf8');
}

/**
 * @param {string} directory
 * @returns {string[]} the files in it, and in what is in it, relative to the root
 */
function filesUnder(directory) {
  return fs.readdirSync(path.join(root, directory), { withFileTypes: true }).flatMap((entry) => {
    const name = `${directory}/${entry.name}`;
    return entry.isDirectory() ? filesUnder(name) : [name];
  });
}

/** @param {string} ending @param {string} [directory] */
function filesEndingWith(ending, directory = '.') {
  const names = fs.readdirSync(path.join(root, directory)).filter((name) => name.endsWith(ending));
  return names.map((name) => (directory === '.' ? name : `${directory}/${name}`));
}

const isTest = (/** @type {string} */ file) => /(^|\/)tests(\/|\.rs$)/.test(file);

const RUST = [
  ...filesUnder('src'),
  ...filesUnder('bus/src'),
  ...filesUnder('observe/src'),
  ...filesUnder('redis/src'),
].filter((file) => file.endsWith('.rs') && !isTest(file));
const LIB = filesUnder('lib').filter((file) => file.endsWith('.js'));
const ENTRIES = ['index.js', 'bus.js', 'net.js', 'node-ipc.js', 'register.js'];
const DOCUMENTS = [...filesEndingWith('.md'), ...filesEndingWith('.md', 'docs')];
const TYPES = filesEndingWith('.d.ts');

/** The text of the files that are corral, without the tests in them. */
const sources = new Map(
  [...RUST, ...LIB, ...ENTRIES].map((file) => [
    file,
    read(file).split(/^#\[cfg\(test\)\]\nmod tests \{/m)[0],
  ]),
);

/** @param {string} text @param {RegExp} pattern with one group */
function all(text, pattern) {
  return new Set(Array.from(text.matchAll(pattern), (match) => match[1]));
}

/** @param {RegExp} pattern with one group */
function allInSources(pattern) {
  return new Set([...sources.values()].flatMap((text) => [...all(text, pattern)]));
}

/** @param {Iterable<string>} some @param {Set<string>} others */
function missing(some, others) {
  return [...some].filter((one) => !others.has(one)).sort();
}

/** @param {string} text @param {string} heading of the text's first table, or of the section that it is in */
function rowsUnder(text, heading) {
  const from = text.indexOf(heading);
  assert.ok(from >= 0, `there is a ${JSON.stringify(heading)}`);
  const lines = text.slice(from).split('\n');
  const start = lines.findIndex((line) => line.startsWith('|'));
  const end = lines.findIndex((line, index) => index > start && !line.startsWith('|'));
  return lines.slice(start + 2, end < 0 ? undefined : end).map((line) =>
    line
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

test('docs/errors.md has every code that corral gives, each once, and no other', () => {
  // All are written out in quotes: those of errors anywhere, those of warnings as a `code`.
  const given = allInSources(/['"](ERR_[A-Z_]+|ABORT_ERR|DEP\d{4})['"]/g);
  for (const code of allInSources(/code: '(CORRAL_[A-Z_]+)'/g)) given.add(code);
  assert.ok(given.size > 40, 'the codes are found where they are looked for');

  const text = read('docs/errors.md');
  const rows = text.split('\n').filter((line) => line.startsWith('| `'));
  const listed = rows.flatMap((row) => [...all(row.split('|')[1], /`([A-Z0-9_]+)`/g)]);
  assert.deepEqual(missing(given, new Set(listed)), [], 'given, and not in docs/errors.md');
  // The system's own are named by the system; the usual ones are listed.
  for (const code of Object.keys(os.constants.errno)) given.add(code);
  assert.deepEqual(missing(listed, given), [], 'in docs/errors.md, and never given');
  assert.equal(new Set(listed).size, listed.length, 'each is there once');
});

test('every code and variable that a document or a type names is in the code', () => {
  const pattern = /(?<![A-Z_])((?:ERR|CORRAL|NODE_CORRAL)_[A-Z_]*[A-Z])\b(?!_)/g;
  const known = allInSources(pattern);
  for (const file of [...DOCUMENTS, ...TYPES]) {
    assert.deepEqual(
      missing(all(read(file), pattern), known),
      [],
      `named in ${file}, and nowhere in the code`,
    );
  }
});

test('the types of each module name every code of corral that belongs to it', () => {
  /** @type {Record<string, string[]>} by the word for the module in docs/errors.md */
  const files = {
    bus: ['bus.d.ts'],
    cluster: ['index.d.ts'],
    net: ['net.d.ts'],
    'node-ipc': ['node-ipc.d.ts'],
  };
  for (const [code, where] of rowsUnder(read('docs/errors.md'), "## Codes of corral's own")) {
    const modules = Object.keys(files).filter((name) => where.includes(`*${name}*`));
    for (const file of modules.flatMap((name) => files[name])) {
      assert.ok(read(file).includes(code.replaceAll('`', '')), `${file} names ${code}`);
    }
  }
});

/**
 * The value of a constant, in bytes, milliseconds or without a unit.
 *
 * @param {string} name with its file before a colon: 'src/primary/config.rs:LANE_WINDOW'
 * @returns {number}
 */
function constant(name) {
  const [file, identifier] = name.split(':');
  const text = sources.get(file);
  assert.ok(text !== undefined, `${file} exists`);
  // A constant, or a field that is given a number.
  const found =
    new RegExp(`const ${identifier}\\b[^=]*=([^;]*);`).exec(text)?.[1] ??
    new RegExp(`\\b${identifier}: (\\d[^,}]*)`).exec(text)?.[1];
  assert.ok(found !== undefined, `${file} has ${identifier}`);
  const expression = found
    .replace(/if cfg!\(test\) \{[^}]*\} else \{([^}]*)\}/, '($1)')
    .replace(/Duration::from_secs\(/g, '1000 * (')
    .replace(/Duration::from_millis\(/g, '(')
    .replace(/(?<=\d)_(?=\d)/g, '')
    .replace(/\b[A-Z][A-Z_]+\b/g, (other) => String(constant(`${whoHas(other, file)}:${other}`)));
  assert.match(expression, /^[\d\s()+*/<.-]+$/, `${name} is a number`);
  return vm.runInNewContext(expression);
}

/** @param {string} identifier @param {string} file where it is used */
function whoHas(identifier, file) {
  const has = (/** @type {string} */ other) =>
    new RegExp(`const ${identifier}\\b`).test(/** @type {string} */ (sources.get(other)));
  return has(file) ? file : [...sources.keys()].find(has);
}

/** @type {Record<string, number>} */
const UNITS = { KiB: 1024, MiB: 1 << 20, s: 1000, ms: 1, bytes: 1 };

/** @param {string} text @returns {number[]} the numbers in it, in bytes, milliseconds or without a unit */
function numbersIn(text) {
  const found = text.matchAll(/(?<![\w`])(\d[\d,]*(?:\.\d+)?)(?: (KiB|MiB|ms|s|bytes)\b)?/g);
  return Array.from(found, ([, digits, unit]) => Number(digits.replaceAll(',', '')) * (UNITS[unit] ?? 1));
}

const CONFIG = 'src/primary/config.rs';
const UNREAD = [
  'src/channel/mod.rs:MAX_UNDELIVERED',
  'src/channel/undelivered.rs:EVENT_COST',
  'src/channel/undelivered.rs:MAX_TOTAL',
  'src/channel/undelivered.rs:LEAST_SHARE',
];

/**
 * Of the tables of bounds: by how each row begins, where the numbers in its second column come from, in their order.
 * @type {Record<string, { heading: string, rows: Record<string, string[]> }>}
 */
const TABLES = {
  'docs/architecture.md': {
    heading: '## Back-pressure and bounds',
    rows: {
      'Connections accepted and not taken': [`${CONFIG}:max_pending`],
      "The kernel's backlog": ['src/os/bind.rs:DEFAULT_BACKLOG'],
      'Connections in flight to a worker': [`${CONFIG}:LANE_WINDOW`, `${CONFIG}:IN_FLIGHT_PER_WORKER`],
      'Connections on the shared lane': [`${CONFIG}:SHARED_WINDOW`],
      'Bytes unacknowledged when a second descriptor': ['src/channel/window.rs:HANDLE_WINDOW'],
      'Undelivered messages of a worker': UNREAD,
      'A frame of a worker': ['src/proto/frame.rs:DEFAULT_MAX_FRAME'],
      'An internal message of a worker': ['src/proto/serialization.rs:MAX_MESSAGE'],
      'The same in `advanced` mode': [
        'src/proto/v8value.rs:MAX_COST',
        'src/proto/v8value.rs:VALUE_COST',
        'src/proto/v8value.rs:MAX_DEPTH',
      ],
      'Descriptors that came without their frames': ['src/channel/inbox.rs:MAX_UNCLAIMED'],
      'Answers to a worker that it does not read': [
        'src/channel/mod.rs:MAX_ANSWERS',
        'src/channel/outbox/queue.rs:WAITING_WEIGHT',
      ],
      "Replies to a worker's requests": ['lib/channel/requests.js:MUCH_UNREAD'],
      'Unanswered requests of a worker to another': ['lib/channel/request-window.js:MOST_UNDER_WAY'],
      'Unread replies to another worker': [
        'lib/channel/requests.js:MAX_UNREAD',
        'lib/channel/write-queue.js:MAX_UNREAD_REPLIES',
      ],
      'Names of channels that are kept': [
        'lib/channel/names.js:MAX_CHANNELS',
        'lib/channel/names.js:MAX_NAME',
      ],
      "'connection' events that wait": ['src/primary/taken.rs:MAX_SINGLE'],
      "The address in a 'listening' message": ['src/proto/cluster.rs:MAX_LISTENING'],
      'Handles that JavaScript has not taken': ['src/channel/window.rs:MAX_UNDER_WAY'],
      'Handles of a worker that are open': [],
      'Handles of a worker or peer that the program has sent on, to a worker or a peer': [
        'lib/channel/held-handles.js:MAX_WAITING',
      ],
      'Data left by a worker that has ended': ['src/channel/inbox.rs:MAX_LEFT_BEHIND'],
      'Messages taken off one lane': [`${CONFIG}:LANE_BUDGET`],
      'Bytes read from one worker': [
        'src/channel/inbox.rs:READ_BUDGET',
        'src/channel/inbox.rs:READ_COST',
        'src/channel/inbox.rs:INTERNAL_COST',
      ],
    },
  },
  'docs/observing.md': {
    heading: '## Bounds',
    rows: {
      'Clients that are connected': ['observe/src/admission.rs:MAX_CONNECTIONS'],
      'Clients that follow events': [
        'observe/src/admission.rs:MAX_FOLLOWERS',
        'observe/src/server/site.rs:ANSWER_TIMEOUT',
      ],
      'Blocks that are remembered': ['observe/src/blocks.rs:MAX_PAST'],
      'Frames that metrics tell apart': ['observe/src/blocks.rs:MAX_FRAMES'],
      Profiles: ['observe/src/profiles.rs:MAX_PROFILE_TIME'],
      'What a worker publishes at once': ['observe/src/server/links.rs:MAX_METRICS'],
      'Series that are kept of workers that have gone': ['observe/src/program/mod.rs:MAX_GONE_SERIES'],
      'Queues of a bus whose messages are counted': ['observe/src/bus.rs:MAX_QUEUES'],
      'Processes whose files in `/proc` stay open': ['observe/src/process.rs:MAX_OPEN'],
      'Events that wait for one of them': ['observe/src/events.rs:MAX_WAITING'],
      'The head of a request': [
        'observe/src/server/site.rs:MAX_HEAD',
        'observe/src/server/site.rs:HEAD_TIMEOUT',
      ],
      'Answers that are unread': ['observe/src/admission.rs:MAX_UNREAD'],
      'The same of one client': ['observe/src/server/site.rs:ANSWER_TIMEOUT'],
    },
  },
  'docs/ipc.md': {
    heading: '**Limits.**',
    rows: {
      'a message, as the receiver': ['lib/ipc/options.js:DEFAULT_MAX_MESSAGE_SIZE'],
      'bytes that wait to be written': [
        'lib/ipc/options.js:DEFAULT_MAX_QUEUED_BYTES',
        'src/channel/outbox/queue.rs:WAITING_WEIGHT',
      ],
      'answers to handles': ['src/channel/mod.rs:MAX_ANSWERS', 'src/channel/outbox/queue.rs:WAITING_WEIGHT'],
      'undelivered messages': [
        UNREAD[0],
        UNREAD[1],
        'src/channel/mod.rs:HANDLE_WEIGHT',
        UNREAD[2],
        UNREAD[3],
      ],
      "messages before there is a 'message' listener": [
        'lib/channel/incoming.js:MAX_UNDELIVERED',
        'lib/channel/incoming.js:MAX_UNDELIVERED_BYTES',
      ],
      'messages that a `for await` loop': ['lib/ipc/async-iterator.js:HIGH_WATER'],
      'new channels of a server before its program': ['src/ipc/listener.rs:MAX_UNDELIVERED'],
      'channels of a server': [],
      'processes of other users': ['src/ipc/handshake.rs:MAX_ASKED'],
      'refusals with an event each': [
        'src/ipc/refusals.rs:MAX_SINGLE',
        'src/ipc/refusals.rs:WINDOW',
        'src/ipc/refusals.rs:MAX_SINGLE',
      ],
      'time until there is a channel': ['lib/ipc/options.js:DEFAULT_HANDSHAKE_TIMEOUT'],
      'file descriptors of the process': [],
    },
  },
  'docs/bus.md': {
    heading: '## Bounds',
    rows: {
      'a message, with its headers': [
        'lib/bus/options.js:DEFAULT_MAX_MESSAGE_SIZE',
        'lib/bus/options.js:MAX_MESSAGE_SIZE',
      ],
      'a transaction, or any other call': ['bus/src/protocol/mod.rs:MAX_FRAME'],
      'a name, an id': ['lib/bus/options.js:MAX_NAME'],
      'messages of one `receive`': ['lib/bus/options.js:MAX_COUNT', 'bus/src/engine/delivery.rs:MAX_REPLY'],
      'messages that wait for a subscriber': [
        'lib/bus/options.js:DEFAULT_BUFFER',
        'bus/src/topics.rs:MAX_BYTES',
      ],
      'calls that wait for an engine': [
        'lib/bus/options.js:DEFAULT_OFFLINE_MESSAGES',
        'lib/bus/options.js:DEFAULT_OFFLINE_BYTES',
      ],
      'unread answers to a process': ['bus/src/protocol/buffers.rs:HIGH_WATER'],
      'what an engine remembers': ['bus/src/engine/mod.rs:REMEMBERED'],
    },
  },
};

for (const [document, { heading, rows }] of Object.entries(TABLES)) {
  test(`the numbers in ${document}'s table of bounds are the code's`, () => {
    const beginnings = Object.keys(rows);
    for (const [what, bound] of rowsUnder(read(document), heading)) {
      const beginning = beginnings.find((one) => what.startsWith(one));
      assert.ok(beginning !== undefined, `a new row: say in this test where its numbers come from: ${what}`);
      assert.deepEqual(numbersIn(bound), rows[beginning].map(constant), `${what}: ${bound}`);
    }
    const texts = rowsUnder(read(document), heading).map(([what]) => what);
    const gone = beginnings.filter((one) => !texts.some((what) => what.startsWith(one)));
    assert.deepEqual(gone, [], 'rows that this test knows and the document has no more');
  });
}

/**
 * Numbers in sentences: the document, what the sentence has (white space counts alike; a group for what has the numbers), and
 * where they come from, in their order.
 * @type {[string, RegExp, string[]][]}
 */
const SENTENCES = [
  [
    'docs/architecture.md',
    /takes (1,024 messages or \S+ MiB) at most/,
    ['src/binding/queue.rs:calls', 'src/binding/queue.rs:bytes'],
  ],
  [
    'docs/architecture.md',
    /after (\S+ ms no other portion of \d+)/,
    ['lib/native-reactor.js:TURN_MS', 'src/binding/queue.rs:PORTION'],
  ],
  ['docs/architecture.md', /their bytes, and (\d+) for each message/, [UNREAD[1]]],
  [
    'docs/architecture.md',
    /At (\S+ MiB of that \(a share of \S+ MiB) where there are more than/,
    [UNREAD[0], UNREAD[2]],
  ],
  ['docs/architecture.md', /channels, (\S+ KiB) at least\) a channel is not read/, [UNREAD[3]]],
  [
    'docs/architecture.md',
    /each message of more than (\S+ KiB) is taken by itself/,
    ['src/channel/batch.rs:BATCHED_MESSAGE'],
  ],
  ['docs/architecture.md', /whose messages take (\S+ ms) or more is put/, ['src/reactor/pace.rs:LONG']],
  ['docs/architecture.md', /has had\s+an event within (\S+ ms)/, ['src/reactor/pace.rs:LULL']],
  ['docs/architecture.md', /only messages have come for (\S+ ms)/, ['src/channel/driver/lending.rs:QUIET']],
  ['docs/architecture.md', /one above (\S+ KiB), one more than/, ['src/channel/driver/lending.rs:MAX_LENT']],
  [
    'docs/architecture.md',
    /but checks after (\S+ ms) whether JavaScript has/,
    ['src/channel/driver/lending.rs:BUSY_AFTER'],
  ],
  ['docs/architecture.md', /or (\S+ KiB) have gathered/, ['src/channel/outbox.rs:CORKED']],
  [
    'docs/architecture.md',
    /takes longer than (\S+ ms) does not hold them up/,
    ['src/channel/mod.rs:CORKED_FOR'],
  ],
  [
    'docs/architecture.md',
    /views of (\S+ KiB) and more, travel beside/,
    ['lib/serialization/attachments.js:LARGE_VIEW'],
  ],
  [
    'docs/architecture.md',
    /At most (\S+ MiB) of them are in the memory/,
    ['src/channel/memory/mod.rs:MAX_UNREAD'],
  ],
  [
    'docs/architecture.md',
    /has not been used for (\S+ s) goes back/,
    ['src/channel/memory/mod.rs:MEMORY_KEPT'],
  ],
  [
    'docs/architecture.md',
    /its Server accepts: up to (\d+) connections/,
    ['src/reactor/acceptor.rs:ACCEPT_BUDGET'],
  ],
  ['docs/architecture.md', /At most (\d+) missed turns count/, ['src/sched/round_robin.rs:MAX_OWED']],
  ['docs/architecture.md', /, up to (\S+ ms) at a stretch/, ['src/sched/fairness.rs:MAX_WAIT']],
  ['docs/architecture.md', /it rests for (\S+ ms) and is offered again/, [`${CONFIG}:REFUSAL_PAUSE`]],
  [
    'docs/architecture.md',
    /every (\d+ to \d+ ms) while something is in flight/,
    [`${CONFIG}:LANE_LOOK`, `${CONFIG}:LANE_TICK`],
  ],
  ['docs/architecture.md', /Up to (\d+) connections may be in flight on a lane/, [`${CONFIG}:LANE_WINDOW`]],
  [
    'docs/architecture.md',
    /has reported nothing for (\S+ ms, \S+ ms while another worker of the server keeps up, or \S+ ms) while/,
    [`${CONFIG}:RECALL_AFTER`, `${CONFIG}:RECALL_SOON_AFTER`, `${CONFIG}:RECALL_FOR_IDLE`],
  ],
  ['docs/architecture.md', /is it given some ahead, up to (\S+ ms) of work/, [`${CONFIG}:AHEAD`]],
  ['docs/architecture.md', /false from (\S+ KiB) on\)/, ['src/channel/bounds.rs:MUCH_UNREAD']],
  ['docs/architecture.md', /counts as (\S+ KiB) of its messages/, ['src/channel/mod.rs:HANDLE_WEIGHT']],
  [
    'docs/architecture.md',
    /Accepting pauses for (\S+ ms) at a time/,
    ['src/reactor/acceptor.rs:ACCEPT_PAUSE'],
  ],
  [
    'docs/architecture.md',
    /Sending on that channel pauses for (\S+ ms) at a time/,
    ['src/channel/driver/mod.rs:EXHAUSTED_PAUSE'],
  ],
  [
    'docs/ipc.md',
    /together when it ends, or earlier when there are (\S+ KiB)/,
    ['src/channel/outbox.rs:CORKED'],
  ],
  ['docs/differences.md', /returns false from (\S+ KiB) on that/, ['src/channel/bounds.rs:MUCH_UNREAD']],
  [
    'docs/libraries.md',
    /after `timeout` \((\S+ ms) by default/,
    ['lib/channel/named-channel.js:GATHER_TIMEOUT'],
  ],
  ['docs/libraries.md', /A name has 1 to\s+(\S+) characters/, ['lib/channel/names.js:MAX_NAME']],
  ['docs/libraries.md', /a process may have (\S+) channels/, ['lib/channel/names.js:MAX_CHANNELS']],
  ['docs/ipc.md', /has returned false since (\S+ KiB)/, ['src/channel/bounds.rs:MUCH_BACKLOG']],
  ['docs/ipc.md', /or longer than (\S+ bytes)\)/, ['src/proto/handshake.rs:MAX_HELLO']],
  ['docs/protocol.md', /deals with have at most (\S+ MiB)/, ['src/proto/serialization.rs:MAX_MESSAGE']],
  ['docs/protocol.md', /new frame included, fits into (\S+ KiB)/, ['src/channel/window.rs:HANDLE_WINDOW']],
  [
    'docs/protocol.md',
    /a frame of more than (\S+ KiB), or one that had/,
    ['src/channel/window.rs:WHOLE_FRAME'],
  ],
  ['docs/protocol.md', /A packet is at most (\S+ bytes)/, ['src/proto/lane.rs:MAX_LANE_MESSAGE']],
  ['docs/protocol.md', /at most (\d+) attachments\./, ['src/proto/attachment.rs:MAX_ATTACHMENTS']],
  ['docs/protocol.md', /`memfd` of \S+ (?:blocks of )(\S+ KiB), sealed/, ['src/channel/memory/mod.rs:BLOCK']],
  ['docs/differences.md', /may have (\w+ connections in flight, \d+) on a lane/, [`${CONFIG}:LANE_WINDOW`]],
  [
    'docs/differences.md',
    /goes to another after (\d+ to \d+ ms), with/,
    [`${CONFIG}:RECALL_FOR_IDLE`, `${CONFIG}:RECALL_AFTER`],
  ],
  [
    'docs/differences.md',
    /with `'round-robin'` after (\d+ to \d+ ms) \(lanes only\)/,
    [`${CONFIG}:RECALL_SOON_AFTER`, `${CONFIG}:RECALL_AFTER`],
  ],
  ['docs/differences.md', /At most `maxPendingConnections` \((\S+)\)/, [`${CONFIG}:max_pending`]],
  ['docs/differences.md', /descriptors, and (\S+), all servers half/, [`${CONFIG}:MAX_SERVERS_OF_WORKER`]],
  [
    'docs/differences.md',
    /A key beyond (\S+ KiB, or \S+ KiB) of `data`/,
    [`${CONFIG}:MAX_SERVER_KEY`, `${CONFIG}:MAX_SERVER_DATA`],
  ],
  [
    'docs/differences.md',
    /protocol's own that is larger than (\S+ MiB), or/,
    ['src/proto/serialization.rs:MAX_MESSAGE'],
  ],
  [
    'docs/differences.md',
    /A frame beyond `maxFrameSize` \((\S+ MiB)\)/,
    ['src/proto/frame.rs:DEFAULT_MAX_FRAME'],
  ],
  [
    'docs/differences.md',
    /delivers at most (\S+ messages or \S+ MiB)/,
    ['src/binding/queue.rs:calls', 'src/binding/queue.rs:bytes'],
  ],
  [
    'docs/differences.md',
    /begins no portion of (\d+ after \S+ ms)/,
    ['src/binding/queue.rs:PORTION', 'lib/native-reactor.js:TURN_MS'],
  ],
  [
    'docs/node-ipc.md',
    /`config.maxMessageSize` \((\S+ MiB)\)/,
    ['lib/node-ipc/defaults.js:MAX_MESSAGE_SIZE'],
  ],
  ['docs/node-ipc.md', /However much comes, (\d+) messages/, ['lib/node-ipc/turns.js:MAX_COST']],
  [
    'docs/node-ipc.md',
    /are lost when more than (\S+ MiB) of them waits/,
    ['lib/node-ipc/receiving.js:MAX_WAITING'],
  ],
  [
    'docs/bus.md',
    /by which a second message is recognised for `deduplicate` milliseconds \((\S+)\)/,
    ['lib/bus/options.js:DEFAULT_DEDUPLICATE'],
  ],
  ['docs/bus.md', /if their holder is back within (\S+ ms);/, ['bus/src/engine/mod.rs:GRACE']],
  [
    'docs/bus.md',
    /Every call is rejected with `ERR_CORRAL_BUS_TIMEOUT` after `timeout` \((\S+ ms)\)/,
    ['lib/bus/options.js:DEFAULT_TIMEOUT'],
  ],
  [
    'bus.d.ts',
    /How long `connect` may take, in milliseconds\. Default: (\S+)\. \*\/ connectTimeout/,
    ['lib/bus/options.js:DEFAULT_CONNECT_TIMEOUT'],
  ],
  [
    'bus.d.ts',
    /held by who has received it, in milliseconds\. Default: (\S+)\./,
    ['bus/src/engine/queue.rs:DEFAULT_VISIBILITY'],
  ],
  ['docs/errors.md', /or is longer than (\S+ bytes)/, ['src/proto/handshake.rs:MAX_HELLO']],
  ['docs/errors.md', /`allow` decides on (\d+) others/, ['src/ipc/handshake.rs:MAX_ASKED']],
  ['README.md', /No worker keeps up \| [^|]* \| at (\S+) connections per server/, [`${CONFIG}:max_pending`]],
  [
    'net.d.ts',
    /in bytes as they travel\. Default: (\S+ MiB)/,
    ['lib/ipc/options.js:DEFAULT_MAX_MESSAGE_SIZE'],
  ],
  ['net.d.ts', /before `send` fails\. Default: (\S+ MiB)/, ['lib/ipc/options.js:DEFAULT_MAX_QUEUED_BYTES']],
  [
    'net.d.ts',
    /in milliseconds\. Default: (10\S+)\. \*\/ handshakeTimeout/,
    ['lib/ipc/options.js:DEFAULT_HANDSHAKE_TIMEOUT'],
  ],
  [
    'net.d.ts',
    /If more than (\d+ come in \S+ ms)/,
    ['src/ipc/refusals.rs:MAX_SINGLE', 'src/ipc/refusals.rs:WINDOW'],
  ],
  ['net.d.ts', /because `allow` has (\d+) others/, ['src/ipc/handshake.rs:MAX_ASKED']],
  ['index.d.ts', /@default (\d+) \*\/ maxPendingConnections/, [`${CONFIG}:max_pending`]],
  ['index.d.ts', /@default (\d+) \(512 MiB\)/, ['src/proto/frame.rs:DEFAULT_MAX_FRAME']],
  ['node-ipc.d.ts', /@default (\d+) \(64 MiB\)/, ['lib/node-ipc/defaults.js:MAX_MESSAGE_SIZE']],
];

test("the numbers in the sentences of the documents are the code's", () => {
  for (const [document, pattern, names] of SENTENCES) {
    // Lines may break anywhere, also where the next one begins with the star of a comment.
    const text = read(document)
      .replace(/\n\s*(?:\* )?/g, ' ')
      .replace(/ +/g, ' ');
    const found = pattern.exec(text)?.[1];
    assert.ok(
      found !== undefined,
      `${document} has ${pattern}: if its words have changed, so must this test`,
    );
    assert.deepEqual(numbersIn(found), names.map(constant), `${document}: ${found} (${names})`);
  }
});

/** @param {string} text Markdown @returns {string} without code */
function proseOf(text) {
  return text.replace(/^( *)```[\s\S]*?^\1```$/gm, '').replace(/`[^`\n]*`/g, '');
}

test('every event that a document or a type names is in the code', () => {
  // Some are emitted by Node, for whoever listens: what corral does not name at all cannot be one of its events.
  const quoted = allInSources(/['"`]([a-z][A-Za-z.]*)['"`]/g);
  for (const name of ['setup', 'clientError', 'ready', 'uncaughtException']) quoted.add(name);
  for (const file of DOCUMENTS) {
    const named = all(proseOf(read(file)), /(?<![\w])'([a-z][A-Za-z.]*)'/g);
    assert.deepEqual(missing(named, quoted), [], `${file} names these as events`);
  }
  for (const file of TYPES) {
    const text = read(file);
    const events = all(text, /\b(?:event|type): ('[^)]*?'), /g);
    const named = new Set([...events].flatMap((names) => [...all(names, /'([\w.]+)'/g)]));
    for (const [, body] of text.matchAll(/interface \w*Event(?:s|Map) \{\n([\s\S]*?)\n {0,2}\}/g)) {
      for (const name of all(body, /^\s+(\w+): \[/gm)) named.add(name);
    }
    assert.deepEqual(missing(named, quoted), [], `${file} has these as events`);
  }
});

/** @param {string} text a document @returns {Set<string>} the names by which its headings are linked to */
function anchorsOf(text) {
  const slug = (/** @type {string} */ heading) =>
    heading
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-');
  return new Set(Array.from(text.matchAll(/^#+ (.*)$/gm), (match) => slug(match[1])));
}

test('links between documents lead somewhere', () => {
  for (const document of DOCUMENTS) {
    for (const [, target] of read(document).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [name, anchor] = target.split('#');
      const file = name === '' ? document : path.join(path.dirname(document), name);
      assert.ok(fs.existsSync(path.join(root, file)), `${document}: ${target}`);
      if (anchor) assert.ok(anchorsOf(read(file)).has(anchor), `${document}: ${target}`);
    }
  }
});

test('files that documents name exist', () => {
  const pattern =
    /`((?:src|bus\/src|observe\/src|lib(?!\/internal)|docs|scripts|bench|examples|npm|__test__|\.ci|\.github)\/[\w./-]*\w\/?)`/g;
  for (const document of DOCUMENTS.filter((file) => file !== 'CHANGELOG.md')) {
    for (const file of all(read(document), pattern)) {
      assert.ok(fs.existsSync(path.join(root, file)), `${document}: ${file}`);
    }
  }
});

test('every source file has a place in the map of CONTRIBUTING.md, and everything on it exists', () => {
  const mapped = new Set();
  for (const [files, about] of rowsUnder(read('CONTRIBUTING.md'), '| File')) {
    const named = all(files, /`([^`]+)`/g);
    // Several of one row are sometimes told by what they have in common.
    for (const file of all(about, /`((?:(?:bus|observe)\/)?(?:src|lib)\/[^`]+)`/g)) named.add(file);
    for (const file of named) {
      assert.ok(fs.existsSync(path.join(root, file)), `on the map: ${file}`);
      mapped.add(file.replace(/\/$/, ''));
    }
    for (const directory of [...named].filter((file) => file.endsWith('/'))) {
      for (const file of all(about, /`([\w-]+\.(?:rs|js))`/g)) {
        assert.ok(fs.existsSync(path.join(root, directory, file)), `on the map: ${directory}${file}`);
      }
    }
  }
  // A directory of its own row has all that is in it.
  const isMapped = (/** @type {string} */ file) => {
    for (let name = file; name !== '.'; name = path.dirname(name)) if (mapped.has(name)) return true;
    return /^(?:(?:bus|observe)\/)?src\/\w+\/mod\.rs$/.test(file);
  };
  assert.deepEqual(
    [...RUST, ...LIB, ...ENTRIES].filter((file) => !isMapped(file)),
    [],
    'not on the map',
  );
});

test('every folder of Rust has a map at its head', () => {
  const rows = rowsUnder(read('CONTRIBUTING.md'), '| File');
  for (const [files, about] of rows) {
    for (const folder of all(files, /`((?:(?:bus|observe)\/)?src\/[\w/]+)\/`/g)) {
      const [head] = read(`${folder}/mod.rs`).split(/^(?!\/\/!)/m);
      const named = new Set([...all(head, /`(\w+)`/g), ...all(about, /`(\w+)\.rs`/g)]);
      const inFolder = RUST.filter((file) => path.dirname(file) === folder);
      const stems = inFolder.map((file) => path.basename(file, '.rs')).filter((name) => name !== 'mod');
      assert.deepEqual(
        stems.filter((name) => !named.has(name)),
        [],
        `${folder}/mod.rs has no line for these`,
      );
    }
  }
});

test('every folder of JavaScript has a map at its head', () => {
  for (const [files, about] of rowsUnder(read('CONTRIBUTING.md'), '| File')) {
    for (const folder of all(files, /`(lib\/[\w/-]+)\/`/g)) {
      const [main] = all(about, /its map is in `([\w-]+\.js)`/g);
      const inFolder = LIB.filter((file) => path.dirname(file) === folder).map((file) => path.basename(file));
      const head = main ?? (inFolder.includes('index.js') ? 'index.js' : undefined);
      // The first comment; a folder of single files has its map in CONTRIBUTING.md.
      const map =
        head === undefined ? about : (/^\/\/.*(?:\n\/\/.*)*/m.exec(read(`${folder}/${head}`))?.[0] ?? '');
      assert.deepEqual(
        inFolder.filter((file) => file !== head && !map.includes(file)),
        [],
        `the map of ${folder} has no line for these`,
      );
    }
  }
});
