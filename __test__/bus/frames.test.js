'use strict';

// What messages are as bytes: JSON by a quicker way, frames in memory that is used again, and a stream of them cut anywhere.

const assert = require('node:assert/strict');
const { describe, test } = require('node:test');
const { FrameWriter } = require('../../lib/bus/frame-writer');
const { FrameCutter, PREFIX } = require('../../lib/bus/frames');
const { native } = require('../../lib/bus/native');
const json = require('../../lib/bus/json');

const LONG = 'a long text, '.repeat(100);

/** @param {Buffer} stream @param {number} size of the pieces in which it comes @returns {string[]} the texts of its frames */
function textsOf(stream, size) {
  /** @type {string[]} */
  const texts = [];
  const cutter = new FrameCutter((from) => {
    assert.equal(from.u8(), 7);
    const sequence = from.u64();
    from.keep();
    texts.push(`${sequence} ${from.bytes()}`);
    return true;
  });
  // All comes in the same memory, as from a socket.
  const memory = Buffer.alloc(size);
  for (let at = 0; at < stream.length; at += size) {
    const count = stream.copy(memory, 0, at, Math.min(at + size, stream.length));
    cutter.push(memory, count);
    memory.fill(0xff);
  }
  return texts;
}

describe('frames', () => {
  test('are the same wherever a stream of them is cut', () => {
    const writer = new FrameWriter();
    const bodies = ['', 'x', 'yy'.repeat(40), LONG, 'z'];
    const frames = bodies.map((body, i) =>
      writer
        .begin(7, 2 ** 40 + i)
        .bytes(Buffer.from(body))
        .end(),
    );
    const stream = Buffer.concat(frames);
    const expected = bodies.map((body, i) => `${2 ** 40 + i} ${body}`);
    for (const size of [1, 2, 3, 4, 5, 13, 17, 18, 64, 1_000, stream.length]) {
      assert.deepEqual(textsOf(stream, size), expected, `in pieces of ${size}`);
    }
  });

  test('of a length that nobody has are an error', () => {
    const cutter = new FrameCutter(() => true);
    const bytes = Buffer.alloc(PREFIX, 0xff);
    cutter.push(bytes.subarray(0, 3), 3);
    assert.throws(() => cutter.push(Buffer.of(0xff), 1), { code: 'ERR_CORRAL_BUS_PROTOCOL' });
    assert.throws(() => new FrameCutter(() => true).push(bytes, 4), { code: 'ERR_CORRAL_BUS_PROTOCOL' });
  });

  test('stay as they are while somebody wants them, and their memory is used again then', () => {
    const writer = new FrameWriter();
    /** @type {{ slab: import('../../lib/bus/frame-writer').Slab, text: string, start: number, end: number }[]} */
    const kept = [];
    const slabs = new Set();
    for (let i = 0; i < 2_000; i += 1) {
      const text = `${i} ${'é'.repeat(i % 700)}`;
      writer.begin(7, i).long(text);
      const { length } = writer;
      const end = writer.finish();
      const { slab } = writer;
      slab.users += 1;
      slabs.add(slab);
      kept.push({ slab, text, start: end - length, end });
      // Up to 100 are on their way.
      if (kept.length < 100) continue;
      const [one] = kept.splice(0, 1);
      const frame = one.slab.bytes.subarray(one.start, one.end);
      assert.equal(frame.toString('utf8', PREFIX + 13), one.text);
      assert.equal(frame.readUInt32LE(0), frame.length - PREFIX);
      writer.release(one.slab);
    }
    assert.ok(slabs.size < 200, `${slabs.size} pieces of memory`);
  });

  test('that were large leave no large memory behind', () => {
    const writer = new FrameWriter();
    const usual = 64 * 1024;
    for (const isReusable of [true, false]) {
      writer
        .begin(1, 1)
        .raw(Buffer.alloc(1 << 20))
        .finish();
      const { slab } = writer;
      assert.ok(slab.bytes.length > usual);
      slab.users += 1;
      slab.isReusable = isReusable;
      writer.release(slab);
      assert.ok(writer.slab.bytes.length <= usual);
    }
    writer.begin(1, 1).raw(Buffer.alloc(1 << 20));
    writer.abandon();
    assert.ok(writer.slab.bytes.length <= usual);
    assert.deepEqual(writer.begin(7, 1).end(), new FrameWriter().begin(7, 1).end());
  });

  test('that were begun and not sent leave nothing behind', () => {
    const writer = new FrameWriter();
    writer.begin(7, 1).long(LONG);
    writer.begin(7, 2).bytes(Buffer.from('x'));
    assert.deepEqual(textsOf(writer.end(), 5), ['2 x']);
  });
});

describe('JSON', () => {
  test('is what JSON.stringify gives', () => {
    const controls = Array.from({ length: 0x30 }, (_, code) => String.fromCharCode(code));
    const ends = ['"', '\\', '\n', '\u007f', '\u0080', 'é', '\u2028', '\ud800', '😀', ...controls];
    const texts = ends.flatMap((end) => [LONG + end, end + LONG, LONG + end + LONG]);
    const messages = [
      ...texts,
      'x'.repeat(100_000),
      ...texts.map((text) => ({ text, number: 1.5, nothing: undefined, none: null, list: [text, 1] })),
      { [LONG]: LONG, 'a "name"': LONG, 7: LONG, __proto__: null },
      { when: new Date(0), text: LONG, toJSON: undefined },
      { text: LONG, toJSON: () => 'another' },
      { text: LONG, own: { toJSON: (/** @type {string} */ name) => `is ${name}` } },
      { text: LONG, fn() {}, symbol: Symbol('no') },
      Object.assign(Object.create({ inherited: LONG }), { own: LONG }),
      new (class {
        text = LONG;
      })(),
      [LONG],
      { fn() {}, text: LONG },
      undefined,
      null,
      7,
    ];
    for (const message of messages) {
      assert.equal(json.stringify(message), JSON.stringify(message));
    }
    /** @type {any} */
    const circle = { text: LONG };
    circle.self = circle;
    assert.throws(() => json.stringify(circle), TypeError);
    assert.throws(() => json.stringify({ text: LONG, big: 1n }), TypeError);
  });

  test('the addon knows which texts are JSON as they are', () => {
    const { isPlain } = /** @type {NonNullable<typeof native>} */ (native);
    assert.ok(isPlain(LONG) && isPlain('') && isPlain('x'.repeat(65_536)));
    for (const end of ['"', '\\', '\n', '\0', '\u001f', '\u0080']) assert.equal(isPlain(LONG + end), false);
    assert.throws(() => isPlain(/** @type {any} */ (7)));
  });
});
