'use strict';

// The program of the reload bench with Express.

// By a name that the type checker does not follow: the bench installs it beside this file.
const express = require(/** @type {string} */ ('express'));

/** How long each answer takes, in milliseconds. */
const TAKES = 20;

const app = express();
app.get('/', (/** @type {unknown} */ _request, /** @type {any} */ response) =>
  setTimeout(() => response.send(`${process.pid}`), TAKES),
);
app.listen(Number(process.env.PORT), '127.0.0.1');
