'use strict';

// The program of the reload bench with Fastify.

// By a name that the type checker does not follow: the bench installs it beside this file.
const fastify = require(/** @type {string} */ ('fastify'))();

/** How long each answer takes, in milliseconds. */
const TAKES = 20;

fastify.get('/', async () => {
  await new Promise((resolve) => setTimeout(resolve, TAKES));
  return `${process.pid}`;
});
fastify.listen({ port: Number(process.env.PORT), host: '127.0.0.1' });
