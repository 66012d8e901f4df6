'use strict';

// How frames get to the core, the primary's or that of channels over named sockets: both take them alike.

/**
 * @param {string | Buffer} frame
 * @returns {number} how many bytes it is on the wire
 */
function sizeOf(frame) {
  return typeof frame === 'string' ? Buffer.byteLength(frame) + 1 : frame.length;
}

class NativeWriter {
  #native;
  /** The process ends: there is no later in which a batch would go out, and nothing waits for others. */
  isDirect = false;

  /** @param {import('../../binding').NativeWriter} native */
  constructor(native) {
    this.#native = native;
  }

  /**
   * @param {number} id of the channel
   * @param {string | Buffer} frame
   * @param {number} fd of a handle, or -1
   * @param {number} completion
   * @returns {number} 0 when everything was written, `WRITTEN_AND_BEHIND` when it was and the peer is far behind, the number of
   *   bytes that wait when not, a negative errno on failure
   */
  write(id, frame, fd, completion) {
    return typeof frame === 'string'
      ? this.#native.sendText(id, frame, fd, completion)
      : this.#native.sendBytes(id, frame, fd, completion);
  }

  /**
   * @param {number} id
   * @param {Uint8Array[]} parts of a frame, the length in front of the first; what is sent at once is not copied
   * @param {number} completion
   * @returns {number} as `write`
   */
  writeParts(id, parts, completion) {
    return this.#native.sendParts(id, parts, completion);
  }

  /**
   * Sends a message with others of this turn.
   *
   * @param {number} id
   * @param {string | Buffer} frame
   * @returns {number} how many bytes wait, or a negative errno
   */
  cork(id, frame) {
    return typeof frame === 'string' ? this.#native.corkText(id, frame) : this.#native.corkBytes(id, frame);
  }

  /**
   * Ends the turn.
   *
   * @param {number} id
   * @param {number} completion
   * @returns {number} as `write`, for all that was corked in it
   */
  uncork(id, completion) {
    return this.#native.uncork(id, completion);
  }

  /**
   * @param {number} id
   * @returns {boolean} whether messages may have attachments from now on
   */
  acceptsAttachments(id) {
    return this.#native.acceptsAttachments(id);
  }

  /**
   * Sends a message with others of this turn, with what was large in it in the memory that the two ends share.
   *
   * @param {number} id
   * @param {any} frame the message without that
   * @param {any[]} attachments
   * @param {boolean} isLast `uncork` is next
   * @returns {number | null} as `cork`; null if there is no such memory, or no room in it
   */
  corkAttached(id, frame, attachments, isLast) {
    return typeof frame === 'string'
      ? this.#native.corkTextInMemory(id, frame, attachments, isLast)
      : this.#native.corkBytesInMemory(id, frame, attachments, isLast);
  }

  /**
   * @param {number} id
   * @param {any} frame a message without what was large in it
   * @param {any[]} attachments
   * @param {number} completion
   * @returns {number} as `write`
   */
  writeAttached(id, frame, attachments, completion) {
    return typeof frame === 'string'
      ? this.#native.sendTextAttached(id, frame, attachments, completion)
      : this.#native.sendBytesAttached(id, frame, attachments, completion);
  }

  /**
   * @param {number} id
   * @param {string | Buffer} frames several, as they travel
   * @param {number} count
   * @param {number} completion
   * @returns {number} as `write`, for all of them
   */
  writeMany(id, frames, count, completion) {
    return typeof frames === 'string'
      ? this.#native.sendTexts(id, frames, count, completion)
      : this.#native.sendFrames(id, frames, count, completion);
  }

  /**
   * Sends what the peer has asked for. One that asks and does not read the answers loses its channel.
   *
   * @param {number} id
   * @param {any} frame a string, or a Buffer with room for the length in front
   */
  answer(id, frame) {
    if (typeof frame === 'string') this.#native.answerText(id, frame);
    else this.#native.answerBytes(id, frame);
  }

  /**
   * @param {number} id
   * @param {boolean} isWithheld whether to acknowledge no handle of the peer's, or all that have come meanwhile
   */
  withholdReceipts(id, isWithheld) {
    this.#native.withholdReceipts(id, isWithheld);
  }

  /**
   * @param {number} id
   * @returns {number} how many bytes wait to be written
   */
  queued(id) {
    return this.#native.queued(id);
  }

  /**
   * @param {number} id
   * @param {number} bytes
   * @returns {number} 0 if a message of so many bytes may be sent, a negative errno if not
   */
  takes(id, bytes) {
    return this.#native.takes(id, bytes);
  }
}

module.exports = { NativeWriter, sizeOf };
