// The program of the reload bench with h3, which Nitro and Nuxt serve with.

import { createServer } from 'node:http';

// By a name that the type checker does not follow: the bench installs it beside this file.
const { createApp, eventHandler, toNodeListener } = await import(/** @type {string} */ ('h3'));

/** How long each answer takes, in milliseconds. */
const TAKES = 20;

const app = createApp();
app.use(
  eventHandler(async () => {
    await new Promise((resolve) => setTimeout(resolve, TAKES));
    return `${process.pid}`;
  }),
);
createServer(toNodeListener(app)).listen(Number(process.env.PORT), '127.0.0.1');
