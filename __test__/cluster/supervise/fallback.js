'use strict';

// On Node's own cluster.

const lives = require('./lives');
const reloads = require('./reloads');

const FROM_LIVES = [
  'a worker that is killed is started anew, in its place',
  'a program that ends at once has not started, and nothing stays behind',
  'one that something keeps alive when it has left gets a SIGTERM',
  'one that is old is replaced',
  'there are as many workers as there are to be',
];
const FROM_RELOADS = [
  'one whose worker throws ends, and the reason has its last lines',
  'one whose worker listens at fewer addresses ends',
  'two reloads at once are one after the other',
];

module.exports = Object.fromEntries([
  ...FROM_LIVES.map((name) => [name, lives[name]]),
  ...FROM_RELOADS.map((name) => [name, reloads[name]]),
]);
