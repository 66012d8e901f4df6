'use strict';

// Messages as they travel, `serialization: 'json'` and `'advanced'` (Node: internal/child_process/serialization).
// Between two corrals, attachments.js has the large strings of a message beside it, and plain-data.js says which messages
// travel as JSON in either. unreadable.js says why a message cannot be read.

const v8 = require('node:v8');

const errors = require('../errors');

const { limits } = require('../limits');
const { PREFIX, lengthAt, setPrefix } = require('../protocol');
const { LARGE_VIEW, putStrings, takeStrings } = require('./attachments');
const { isPlainData } = require('./plain-data');
const { unreadable } = require('./unreadable');

const VIEW_TAG = 0;
const PLAIN_COPY_TAG = 1;
/** Between two corrals: a view whose bytes travel beside the message. */
const ATTACHMENT_TAG = 2;

/** @type {any[]} */
const VIEWS = [
  Buffer,
  Uint8Array,
  Int8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
  DataView,
];
const NAMES = new Map(VIEWS.slice(1).map((View, index) => [View.name, index + 1]));

/**
 * @param {any} view
 * @returns {number} its place in VIEWS; undefined for what has none
 */
function indexOf(view) {
  if (view instanceof Buffer) return 0;
  // As Node does: by what it is, and not by what its prototype says.
  return /** @type {number} */ (NAMES.get(Object.prototype.toString.call(view).slice('[object '.length, -1)));
}

// Objects of the embedder (handles, most of all) are written as JSON would write them, instead of throwing.
class Serializer extends v8.DefaultSerializer {
  /** Where large views go, if they may travel beside the message. @type {Uint8Array[] | undefined} */
  attachments;
  /** The bytes of large views, which are not copied: in the buffer is the mark where they belong. @type {Uint8Array[] | undefined} */
  lent;

  /**
   * @override
   * @param {Uint8Array} bytes
   */
  writeRawBytes(bytes) {
    if (this.lent === undefined || bytes.byteLength < LARGE_VIEW) return super.writeRawBytes(bytes);
    this.lent.push(bytes);
    return super.writeRawBytes(viewMark());
  }

  /** @param {object} object */
  _writeHostObject(object) {
    if (this.attachments !== undefined && ArrayBuffer.isView(object) && object.byteLength >= LARGE_VIEW) {
      const index = indexOf(object);
      if (index !== undefined && this.attachments.length < limits().MAX_ATTACHMENTS) {
        this.writeUint32(ATTACHMENT_TAG);
        this.writeUint32(index);
        this.writeUint32(this.attachments.length);
        this.attachments.push(new Uint8Array(object.buffer, object.byteOffset, object.byteLength));
        return undefined;
      }
    }
    if (ArrayBuffer.isView(object)) {
      this.writeUint32(VIEW_TAG);
      // @ts-expect-error documented, but not in the types
      return super._writeHostObject(object);
    }
    this.writeUint32(PLAIN_COPY_TAG);
    this.writeValue({ ...object });
  }
}

class Deserializer extends v8.DefaultDeserializer {
  /** What the message has brought along. @type {Uint8Array[]} */
  attachments = [];

  _readHostObject() {
    const tag = this.readUint32();
    if (tag === ATTACHMENT_TAG) return this.#readAttachment();
    // @ts-expect-error documented, but not in the types
    if (tag === VIEW_TAG) return super._readHostObject();
    if (tag !== PLAIN_COPY_TAG) throw new Error(`unknown tag ${tag} of a host object`);
    return this.readValue();
  }

  #readAttachment() {
    const View = VIEWS[this.readUint32()];
    const attachment = this.attachments[this.readUint32()];
    if (View === undefined || attachment === undefined) throw new Error('an attachment that has not come');
    const { buffer, byteOffset, byteLength } = attachment;
    if (View === Buffer) return Buffer.from(buffer, byteOffset, byteLength);
    const size = View.BYTES_PER_ELEMENT ?? 1;
    if (byteLength % size !== 0) throw new Error('an attachment that is no whole number of elements');
    if (byteOffset % size === 0) return new View(buffer, byteOffset, byteLength / size);
    return new View(Uint8Array.prototype.slice.call(attachment).buffer, 0, byteLength / size);
  }
}

/**
 * @param {any} frame
 * @param {Uint8Array[]} [attachments] what the message has brought along
 * @returns {any} throws what says why it cannot be read
 */
function deserialize(frame, attachments) {
  const deserializer = new Deserializer(frame);
  if (attachments !== undefined) deserializer.attachments = attachments;
  try {
    deserializer.readHeader();
    return deserializer.readValue();
  } catch (error) {
    throw unreadable(frame, error);
  }
}

/** @type {Buffer | undefined} */
let drawnMark;

/**
 * What stands for a large view in what is serialized: V8 does not say where it writes. It does not leave this process, so nobody can
 * have it in a message.
 *
 * Made, and what makes it loaded, when it is first needed: few programs send such views. Random bytes are an asynchronous resource,
 * and a program that looks at those (async_hooks) is not to see the end of one that began before it looked.
 */
function viewMark() {
  drawnMark ??= require('node:crypto').randomBytes(16);
  return drawnMark;
}

/** Room for the length, which the core fills in. */
const LENGTH = Buffer.alloc(PREFIX);

/**
 * @param {Serializer} serializer
 * @param {unknown} message
 */
function serialize(serializer, message) {
  serializer.writeRawBytes(LENGTH);
  serializer.writeHeader();
  serializer.writeValue(message);
  return serializer.releaseBuffer();
}

/**
 * @param {Buffer} frame with a mark where each of them belongs
 * @param {Uint8Array[]} views
 * @returns {Uint8Array[]} the parts of the whole frame, in their order
 */
function splice(frame, views) {
  const parts = [];
  const mark = viewMark();
  let start = 0;
  for (const view of views) {
    const end = frame.indexOf(mark, start);
    parts.push(frame.subarray(start, end), view);
    start = end + mark.length;
  }
  parts.push(frame.subarray(start));
  return parts;
}

/** A message without what is large in it. @typedef {{ frame: any, attachments: any[] }} Detached */

/**
 * @typedef {object} Serialization
 * @property {boolean} advanced
 * @property {(message: unknown) => string | Buffer} write throws what cannot be serialized
 * @property {((message: unknown) => Uint8Array[]) | undefined} writeInParts as `write`, without copying large views: they are parts of
 *   the frame by themselves. One part is all of it
 * @property {(frame: any) => any} read throws on what no peer of ours writes
 * @property {(message: any) => Detached | undefined} takeApart what is large in a message travels beside it; undefined if nothing is.
 *   Throws as `write`
 * @property {(frame: any, attachments: any) => any} putTogether a message that was taken apart; throws on what no peer of ours writes
 * @property {(frame: any) => any} reread what `write` has made
 * @property {(frames: any) => any[]} split several frames as they came off the wire
 * @property {(frames: any[]) => any} join several written messages, for the core to send together
 */

/** @type {Serialization} */
const json = {
  advanced: false,
  write(message) {
    const text = JSON.stringify(message);
    // What `toJSON` makes undefined: Node sends the word, which ends its receiver.
    if (text === undefined) throw errors.invalidArgType('message', 'serializable as JSON', message);
    return text;
  },
  writeInParts: undefined,
  read: (text) => JSON.parse(text),
  takeApart(message) {
    const taken = takeStrings(message);
    return taken && { frame: taken.text, attachments: taken.attachments };
  },
  putTogether: putStrings,
  reread: (text) => JSON.parse(text),
  split(text) {
    const lines = text.split('\n');
    // Every frame ends with a newline: what is behind the last one is nothing.
    lines.pop();
    return lines;
  },
  join: (texts) => texts.join('\n'),
};

/** @type {Serialization} */
const advanced = {
  advanced: true,
  write: (message) => serialize(new Serializer(), message),
  writeInParts(message) {
    const serializer = new Serializer();
    serializer.lent = [];
    const frame = serialize(serializer, message);
    if (serializer.lent.length === 0) return [frame];
    // A getter behind it has given its memory away, or made it smaller: V8 says what is wrong with that.
    if (serializer.lent.some(({ byteLength }) => byteLength === 0))
      return [serialize(new Serializer(), message)];
    return splice(frame, serializer.lent);
  },
  read(bytes) {
    if (typeof bytes === 'string') return JSON.parse(bytes);
    return deserialize(bytes);
  },
  takeApart(message) {
    if (isPlainData(message)) return { frame: JSON.stringify(message), attachments: [] };
    if (typeof message !== 'object' || message === null) return undefined;
    const serializer = new Serializer();
    serializer.attachments = [];
    return { frame: serialize(serializer, message), attachments: serializer.attachments };
  },
  putTogether(bytes, places) {
    /** @type {Uint8Array[]} */
    const parts = [];
    for (let index = 0; index < places.length; ) {
      const place = places[index++];
      // Where it is among the bytes, or what is elsewhere.
      parts.push(typeof place === 'number' ? bytes.subarray(place, places[index++]) : place);
    }
    const [frame, ...attachments] = parts;
    return deserialize(frame, attachments);
  },
  reread: (frame) => advanced.read(frame.subarray(PREFIX)),
  split(bytes) {
    if (typeof bytes === 'string') return json.split(bytes);
    const frames = [];
    for (let start = 0; start < bytes.length; ) {
      const body = start + PREFIX;
      start = body + lengthAt(bytes, start);
      frames.push(bytes.subarray(body, start));
    }
    return frames;
  },
  join(frames) {
    for (const frame of frames) setPrefix(frame);
    return Buffer.concat(frames);
  },
};

module.exports = { json, advanced };
