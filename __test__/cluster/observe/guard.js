'use strict';

// Who may ask, and what options are refused.

const assert = require('node:assert/strict');
const net = require('node:net');

const { get } = require('../../helpers/scrape');

module.exports = {
  'with a token only who names it is answered': {
    async primary({ cluster }) {
      const observer = cluster.observe({ port: 0, token: 's3cret' });
      const { port } = observer.address();
      for (const path of [
        '/metrics',
        '/health',
        '/stats',
        '/events',
        '/blocks',
        '/profile?worker=1',
        '/nothing',
      ]) {
        const { status, headers, body } = await get(port, path);
        assert.deepEqual([status, headers['www-authenticate']], [401, 'Bearer'], path);
        assert.doesNotMatch(body, /s3cret/);
      }
      // The page has nothing of the cluster in it, and asks for the token.
      assert.equal((await get(port, '/')).status, 200);
      assert.equal((await get(port, '/health', { authorization: 'Bearer wrong' })).status, 401);
      assert.equal((await get(port, '/health', { authorization: 'Bearer s3cret' })).status, 200);
    },
  },

  'without a token no page that a browser has open is answered': {
    async primary({ cluster }) {
      const { port } = cluster.observe({ port: 0 }).address();
      for (const path of ['/', '/stats']) {
        assert.equal((await get(port, path, { host: `evil.example:${port}` })).status, 421);
      }
      assert.equal((await get(port, '/stats', { host: `localhost:${port}` })).status, 200);
      const elsewhere = { 'sec-fetch-site': 'cross-site' };
      assert.equal((await get(port, '/profile?worker=1', elsewhere)).status, 403);
      // Where a link leads.
      assert.equal((await get(port, '/', elsewhere)).status, 200);
    },
  },

  'who comes from elsewhere than allowed is not listened to': {
    async primary({ cluster }) {
      const { port } = cluster.observe({ port: 0, allow: ['192.0.2.0/24', '::1'] }).address();
      const socket = net.connect(port, '127.0.0.1');
      socket.on('error', () => {});
      socket.write('GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n');
      let received = '';
      socket.on('data', (part) => {
        received += part;
      });
      await new Promise((resolve) => socket.once('close', resolve));
      assert.equal(received, '');
    },
  },

  'beyond the loopback it takes a token, or who may': {
    async primary({ cluster }) {
      for (const host of ['0.0.0.0', '::', '192.0.2.1']) {
        assert.throws(() => cluster.observe({ host, port: 0 }), { code: 'ERR_CORRAL_UNGUARDED' });
      }
      for (const guard of [{ token: 'x' }, { allow: ['127.0.0.1'] }]) {
        const observer = cluster.observe({ host: '0.0.0.0', port: 0, ...guard });
        const { port } = observer.address();
        const { status } = await get(port, '/health', { authorization: 'Bearer x' });
        assert.equal(status, 200);
        observer.close();
      }
      for (const host of ['127.0.0.2', 'localhost']) cluster.observe({ host, port: 0 }).close();
    },
  },

  'options that are wrong are errors': {
    async primary({ cluster }) {
      for (const [options, code] of [
        [undefined, 'ERR_INVALID_ARG_TYPE'],
        [null, 'ERR_INVALID_ARG_TYPE'],
        [9464, 'ERR_INVALID_ARG_TYPE'],
        [{}, 'ERR_MISSING_ARGS'],
        [{ host: '127.0.0.1' }, 'ERR_MISSING_ARGS'],
        [{ port: 65_536 }, 'ERR_SOCKET_BAD_PORT'],
        [{ port: -1 }, 'ERR_SOCKET_BAD_PORT'],
        [{ port: '80' }, 'ERR_SOCKET_BAD_PORT'],
        [{ port: 0, host: 'example.com' }, 'ERR_INVALID_ARG_VALUE'],
        [{ port: 0, host: 1 }, 'ERR_INVALID_ARG_TYPE'],
        [{ path: 1 }, 'ERR_INVALID_ARG_TYPE'],
        [{ path: '' }, 'ERR_INVALID_ARG_VALUE'],
        [{ path: '\0name' }, 'ERR_INVALID_ARG_VALUE'],
        [{ port: 0, token: '' }, 'ERR_INVALID_ARG_VALUE'],
        [{ port: 0, token: 'two words' }, 'ERR_INVALID_ARG_VALUE'],
        [{ port: 0, token: 1 }, 'ERR_INVALID_ARG_TYPE'],
        [{ port: 0, allow: '10.0.0.1' }, 'ERR_INVALID_ARG_TYPE'],
        [{ port: 0, allow: [1] }, 'ERR_INVALID_ARG_TYPE'],
        [{ port: 0, allow: ['10.0.0.0/33'] }, 'ERR_INVALID_ARG_VALUE'],
        [{ port: 0, blockedAfter: 0 }, 'ERR_OUT_OF_RANGE'],
        [{ port: 0, blockedAfter: '1' }, 'ERR_INVALID_ARG_TYPE'],
      ]) {
        assert.throws(() => cluster.observe(options), { code }, JSON.stringify(options));
      }
      const secret = { port: 0, token: 'a b' };
      assert.throws(
        () => cluster.observe(secret),
        ({ message }) => !message.includes('a b'),
      );
      const server = net.createServer().listen(0, '127.0.0.1');
      await new Promise((resolve) => server.once('listening', resolve));
      const { port } = server.address();
      assert.throws(() => cluster.observe({ port }), {
        code: 'EADDRINUSE',
        syscall: 'listen',
        message: `listen EADDRINUSE 127.0.0.1:${port}`,
      });
      server.close();
      assert.throws(() => cluster.observe({ path: '/nowhere/at/all' }), { code: 'ENOENT' });
    },
  },
};
