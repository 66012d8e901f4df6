'use strict';

// Times as cron has them.

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { parseCron } = require('../../lib/supervisor/cron');

/** 2026-11-29 is a Sunday. */
const at = (/** @type {string} */ time, day = '2026-11-29') => new Date(`${day}T${time}:30`);

test('a time is found by each field', () => {
  for (const [text, is, isNot] of /** @type {[string, Date[], Date[]][]} */ ([
    ['* * * * *', [at('00:00'), at('23:59')], []],
    ['30 4 * * *', [at('04:30')], [at('04:31'), at('05:30')]],
    ['*/15 * * * *', [at('04:00'), at('04:45')], [at('04:10')]],
    ['5/20 * * * *', [at('04:05'), at('04:25'), at('04:45')], [at('04:00'), at('04:20')]],
    ['0 9-17 * * *', [at('09:00'), at('17:00')], [at('08:00'), at('18:00')]],
    ['0 9-17/4 * * *', [at('09:00'), at('13:00'), at('17:00')], [at('10:00')]],
    ['0,30 4,16 * * *', [at('16:30')], [at('16:15')]],
    ['0 0 29 11 *', [at('00:00')], [at('00:00', '2026-11-28'), at('00:00', '2026-10-29')]],
    ['0 0 * nov *', [at('00:00')], [at('00:00', '2026-10-29')]],
    ['0 0 * * 0', [at('00:00')], [at('00:00', '2026-11-28')]],
    ['0 0 * * 7', [at('00:00')], [at('00:00', '2026-11-28')]],
    ['0 0 * * Mon-Fri', [at('00:00', '2026-11-30')], [at('00:00')]],
    // With both days set, either is enough.
    ['0 0 1 * sun', [at('00:00'), at('00:00', '2026-12-01')], [at('00:00', '2026-12-02')]],
    ['@hourly', [at('04:00')], [at('04:01')]],
    ['@daily', [at('00:00')], [at('04:00')]],
    [' @weekly ', [at('00:00')], [at('00:00', '2026-11-28')]],
  ])) {
    const cron = parseCron(text);
    for (const time of is) assert.ok(cron.has(time), `${text} has ${time}`);
    for (const time of isNot) assert.ok(!cron.has(time), `${text} has not ${time}`);
  }
});

test('what makes no sense is an error that says where', () => {
  for (const [text, what] of /** @type {[string, RegExp][]} */ ([
    ['', /needs 5 fields, and has 1/],
    ['4 * * *', /needs 5 fields, and has 4/],
    ['0 0 * * * *', /needs 5 fields, and has 6/],
    ['60 * * * *', /"60" for the minute, from 0 to 59/],
    ['* 24 * * *', /for the hour/],
    ['* * 0 * *', /for the day of the month/],
    ['* * * 13 *', /for the month/],
    ['* * * * 8', /for the day of the week/],
    ['*/0 * * * *', /"\*\/0" for the minute/],
    ['9-5 * * * *', /"9-5"/],
    ['1-2-3 * * * *', /"1-2-3"/],
    ['1, * * * *', /"" for the minute/],
    ['-1 * * * *', /"-1"/],
    ['x * * * *', /"x"/],
    ['@reboot', /needs 5 fields/],
    ['1/2/3 * * * *', /"1\/2\/3"/],
  ])) {
    assert.throws(() => parseCron(text), what, text);
  }
});
