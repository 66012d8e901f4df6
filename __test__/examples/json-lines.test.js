'use strict';

// The framing of the examples that speak JSON over a stream of bytes: examples/json-lines.js.

const assert = require('node:assert/strict');
const { PassThrough, Writable } = require('node:stream');
const { finished } = require('node:stream/promises');
const { test } = require('node:test');
const { JsonLines, LineSplitter, LONGEST_LINE } = require('../../examples/json-lines.js');

/** Characters of one, two, three and four bytes; and what would end a line if it were not escaped. */
const MESSAGES = [{ a: 1 }, 'größer', ['世界', '🐎'], null, 'two\nlines\r', ''];
const BYTES = Buffer.from(MESSAGES.map((message) => `${JSON.stringify(message)}\n`).join(''));

/** @param {Iterable<Buffer>} chunks */
function messagesOf(chunks) {
  const splitter = new LineSplitter();
  const messages = Array.from(chunks).flatMap((chunk) =>
    splitter.push(chunk).map((line) => JSON.parse(line)),
  );
  splitter.end();
  assert.equal(splitter.rest, '');
  return messages;
}

/**
 * A channel on which `chunks` come, until all of them have been looked at.
 * @param {(string | Buffer)[]} chunks
 */
async function eventsOf(chunks) {
  const readable = new PassThrough();
  const channel = new JsonLines(readable, new PassThrough());
  /** @type {unknown[][]} */
  const events = [];
  channel.on('message', (message) => events.push(['message', message]));
  channel.on('error', (error) => events.push(['error', error.message]));
  channel.on('end', () => events.push(['end']));
  for (const chunk of chunks) readable.write(chunk);
  readable.end();
  await finished(readable).catch(() => {});
  return events;
}

test('messages that arrive joined in one chunk', () => {
  assert.deepEqual(messagesOf([BYTES]), MESSAGES);
});

test('messages that arrive split in two, at every byte', () => {
  for (let at = 0; at <= BYTES.length; at++) {
    assert.deepEqual(messagesOf([BYTES.subarray(0, at), BYTES.subarray(at)]), MESSAGES, `split at ${at}`);
  }
});

test('messages that arrive in chunks of every size, also byte by byte', () => {
  for (let size = 1; size < BYTES.length; size++) {
    const count = Math.ceil(BYTES.length / size);
    const chunks = Array.from({ length: count }, (_, i) => BYTES.subarray(i * size, (i + 1) * size));
    assert.deepEqual(messagesOf(chunks), MESSAGES, `chunks of ${size}`);
  }
});

test('a line that is not complete is kept, with half a character at its end', () => {
  const splitter = new LineSplitter();
  assert.deepEqual(splitter.push(Buffer.from('one\ntw')), ['one']);
  assert.equal(splitter.rest, 'tw');
  assert.deepEqual(splitter.push(Buffer.from('ö').subarray(0, 1)), []);
  assert.equal(splitter.rest, 'tw');
  splitter.end();
  assert.equal(splitter.rest, 'tw\ufffd');
});

test('a channel sends what a channel receives', async () => {
  /** @type {Buffer[]} */
  const written = [];
  const writable = new Writable({
    write(chunk, _encoding, callback) {
      written.push(chunk);
      callback();
    },
  });
  const channel = new JsonLines(new PassThrough(), writable);
  for (const message of MESSAGES) channel.send(message);
  channel.end();
  await finished(writable);
  assert.deepEqual(Buffer.concat(written), BYTES);
  assert.deepEqual(await eventsOf([BYTES]), [...MESSAGES.map((message) => ['message', message]), ['end']]);
});

test('a line that is no message is an error, and the next one a message again', async () => {
  const events = await eventsOf(['Debugger attached.\n{"a":', '1}\n']);
  assert.deepEqual(events, [['error', 'not a message: Debugger attached.'], ['message', { a: 1 }], ['end']]);
});

test('an end within a message is an error', async () => {
  const events = await eventsOf(['1\n{"a":']);
  assert.deepEqual(events, [['message', 1], ['error', 'the end came within a message: {"a":'], ['end']]);
});

test('a line that does not end is an error before it fills the memory', async () => {
  const events = await eventsOf(['x'.repeat(LONGEST_LINE), 'x', '\n1\n']);
  assert.deepEqual(events, [['error', 'a line is too long']]);
});

test('an error of either stream is an error of the channel, once if both are one', () => {
  const [readable, writable, duplex] = [new PassThrough(), new PassThrough(), new PassThrough()];
  /** @type {string[]} */
  const errors = [];
  for (const channel of [new JsonLines(readable, writable), new JsonLines(duplex, duplex)]) {
    channel.on('error', (error) => errors.push(error.message));
  }
  for (const stream of [readable, writable, duplex]) stream.emit('error', new Error('broken'));
  assert.deepEqual(errors, ['broken', 'broken', 'broken']);
});
