'use strict';

// What other runtimes and other versions say on a channel, and messages that this version cannot read.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const v8 = require('node:v8');

const { next } = require('../../helpers/events');

/** What each begins with as a worker, for `printf`. @type {Record<string, [bytes: string, text: RegExp][]>} */
const BEGINNINGS = {
  json: [['\\002{"cmd":"NODE_CLUSTER","act":"online","seq":0}\\n', /the peer speaks Bun's channel/]],
  advanced: [
    // Of Bun's first packet the first five bytes alone: Node would take four of them for a length.
    ['\\001\\002\\000\\000\\000', /the peer speaks Bun's channel/],
    ['\\002\\073\\000\\000\\000', /neither V8's format nor JSON: the peer does not speak Node's channel/],
    [
      '\\000\\000\\000\\054\\377\\020o"\\003cmd"\\014NODE_CLUSTER"\\003act"\\006online"\\003seqI\\000{\\003',
      /version 16 of V8's format.*Deno 2\.9 writes 16/,
    ],
    [
      '\\000\\000\\000\\006\\377\\020"\\002hi',
      /version 16 of V8's format \(Deno 2\.9 writes it\), of which Node v\S+ knows 15/,
    ],
    ['\\000\\000\\000\\003\\377\\0210', /version 17 of V8's format, of which Node v\S+ knows 15/],
    [
      '\\000\\000\\000\\003\\377\\017?',
      /a value that Node v\S+ cannot read; the peer may be another version of it: .+/,
    ],
  ],
};

module.exports = {
  'a worker that speaks something else than Node is told as what it is, and its channel ends': {
    modes: ['json', 'advanced'],
    async primary({ cluster, fork, mode, scratch }) {
      const node = process.execPath;
      for (const [index, [bytes, text]] of BEGINNINGS[mode].entries()) {
        const runtime = path.join(scratch, `runtime-${index}`);
        // It goes on until its channel is closed.
        const script = `#!/bin/sh\nprintf '${bytes}' >&"$NODE_CHANNEL_FD"\nexec cat <&"$NODE_CHANNEL_FD" >/dev/null\n`;
        fs.writeFileSync(runtime, script, { mode: 0o755 });
        process.execPath = runtime;
        const worker = fork();
        const [error] = await Promise.all([next(worker, 'error'), next(worker, 'disconnect')]);
        assert.equal(error.code, 'ERR_CORRAL_BAD_FRAME');
        assert.match(error.message, text);
        assert.ok(error.message.endsWith(`; the worker runs ${runtime}`), error.message);
        await next(worker, 'exit');
      }
      process.execPath = node;
      assert.deepEqual(cluster.workers, {});
    },
  },

  'a message that a worker cannot read is an error of the worker, of which it dies if nobody listens': {
    modes: ['advanced'],
    async primary({ fork, scratch }) {
      for (const role of ['listens', 'does not']) {
        const worker = fork(role, { FILE: path.join(scratch, 'seen') });
        worker.on('message', () => worker.send(new Map()));
        assert.deepEqual(await next(worker, 'exit'), role === 'listens' ? 0 : 1);
      }
      const [code, text] = JSON.parse(fs.readFileSync(path.join(scratch, 'seen'), 'utf8'));
      assert.equal(code, 'ERR_CORRAL_BAD_FRAME');
      assert.match(text, /a value that Node v\S+ cannot read; .*: what V8 says; the primary is Node v\d/);
    },
    worker({ cluster, role }) {
      // As if another version had written what comes, once it is corral that reads.
      const prototype = /** @type {any} */ (v8.DefaultDeserializer).prototype;
      const { readValue } = prototype;
      prototype.readValue = /** @this {any} */ function () {
        if (this.constructor.name === 'Deserializer') throw new Error('what V8 says');
        return readValue.call(this);
      };
      if (role === 'listens') {
        cluster.worker.on('error', (/** @type {any} */ error) => {
          const file = /** @type {string} */ (process.env.FILE);
          fs.writeFileSync(file, JSON.stringify([error.code, error.message]));
        });
      }
      process.on('message', () => process.send?.('another'));
      process.send?.('one');
    },
  },
};
