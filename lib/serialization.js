'use strict';

// Messages as they travel, `serialization: 'json'` and `'advanced'` (Node: internal/child_process/serialization).

const v8 = require('node:v8');

const errors = require('./errors');

const VIEW_TAG = 0;
const PLAIN_COPY_TAG = 1;

// Objects of the embedder (handles, most of all) are written as JSON would write them, instead of throwing.
class Serializer extends v8.DefaultSerializer {
  /** @param {object} object */
  _writeHostObject(object) {
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
  _readHostObject() {
    const tag = this.readUint32();
    // @ts-expect-error documented, but not in the types
    if (tag === VIEW_TAG) return super._readHostObject();
    if (tag !== PLAIN_COPY_TAG) throw new Error(`unknown tag ${tag} of a host object`);
    return this.readValue();
  }
}

/** Room for the length, which the core fills in. */
const LENGTH = Buffer.alloc(4);

/**
 * @typedef {object} Serialization
 * @property {boolean} advanced
 * @property {(message: unknown) => string | Buffer} write throws what cannot be serialized
 * @property {(frame: any) => any} read throws on what no peer of ours writes
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
  read: (text) => JSON.parse(text),
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
  write(message) {
    const serializer = new Serializer();
    serializer.writeRawBytes(LENGTH);
    serializer.writeHeader();
    serializer.writeValue(message);
    return serializer.releaseBuffer();
  },
  read(bytes) {
    const deserializer = new Deserializer(bytes);
    deserializer.readHeader();
    return deserializer.readValue();
  },
  reread: (frame) => advanced.read(frame.subarray(LENGTH.length)),
  split(bytes) {
    const frames = [];
    for (let start = 0; start < bytes.length; ) {
      const body = start + LENGTH.length;
      start = body + bytes.readUInt32BE(start);
      frames.push(bytes.subarray(body, start));
    }
    return frames;
  },
  join(frames) {
    for (const frame of frames) frame.writeUInt32BE(frame.length - LENGTH.length, 0);
    return Buffer.concat(frames);
  },
};

module.exports = { json, advanced };
