'use strict';

// What becomes of the primary, the other workers and the clients when a process misbehaves, stops or dies, and when
// the machine has no more to give.

const { describe } = require('node:test');
const { programs } = require('../helpers/programs');

describe('frames', { concurrency: 2 }, () => programs('failures/frames'));

describe('deaths', { concurrency: 2 }, () => programs('failures/deaths'));

describe('deaths, on the channel', { concurrency: 2 }, () =>
  programs('failures/deaths', { CORRAL_LANE: '0' }),
);

describe('pressure, on the channel', { concurrency: 2 }, () =>
  programs('failures/pressure', { CORRAL_LANE: '0' }),
);

describe('descriptors, on the channel', { concurrency: 2 }, () =>
  programs('failures/descriptors', { CORRAL_LANE: '0' }),
);

describe('pressure', { concurrency: 2 }, () => programs('failures/pressure'));

describe('floods', { concurrency: 1 }, () => programs('failures/floods'));

describe('floods, on the channel', { concurrency: 1 }, () =>
  programs('failures/floods', { CORRAL_LANE: '0' }),
);

describe('descriptors', { concurrency: 2 }, () => programs('failures/descriptors'));

describe('listeners that throw', { concurrency: 2 }, () => programs('failures/listeners'));

describe('answers, on the channel', { concurrency: 2 }, () =>
  programs('failures/answers', { CORRAL_LANE: '0' }),
);

describe('answers', { concurrency: 2 }, () => programs('failures/answers'));
