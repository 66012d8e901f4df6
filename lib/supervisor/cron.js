'use strict';

// Times as cron has them: minute, hour, day of the month, month and day of the week, in local time. No clock: it is asked whether a time is
// one of them.

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];

/** In order. @type {{ name: string, min: number, max: number, names?: string[] }[]} */
const FIELDS = [
  { name: 'minute', min: 0, max: 59 },
  { name: 'hour', min: 0, max: 23 },
  { name: 'day of the month', min: 1, max: 31 },
  { name: 'month', min: 1, max: 12, names: MONTHS },
  // 7 is Sunday, too.
  { name: 'day of the week', min: 0, max: 7, names: DAYS },
];

/** @type {Record<string, string>} */
const NICKNAMES = {
  '@hourly': '0 * * * *',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@weekly': '0 0 * * 0',
  '@monthly': '0 0 1 * *',
};

/**
 * @typedef {object} Cron
 * @property {(time: Date) => boolean} has whether the minute of this time is one of them
 */

/**
 * @param {string} text
 * @returns {Cron} throws an Error that says what is wrong with the text
 */
function parseCron(text) {
  const words = (NICKNAMES[text.trim()] ?? text)
    .trim()
    .split(/\s+/)
    .map((word) => word.toLowerCase());
  if (words.length !== FIELDS.length)
    throw new Error(`needs ${FIELDS.length} fields, and has ${words.length}`);
  const [minutes, hours, days, months, weekdays] = words.map((word, index) => numbersOf(word, FIELDS[index]));
  if (weekdays.has(7)) weekdays.add(0);
  // With both set, either is enough, as cron has it.
  const isEither = !words[2].startsWith('*') && !words[4].startsWith('*');
  return {
    has(time) {
      if (!minutes.has(time.getMinutes()) || !hours.has(time.getHours())) return false;
      if (!months.has(time.getMonth() + 1)) return false;
      const isDay = days.has(time.getDate());
      const isWeekday = weekdays.has(time.getDay());
      return isEither ? isDay || isWeekday : isDay && isWeekday;
    },
  };
}

/**
 * @param {string} word
 * @param {typeof FIELDS[number]} field
 * @returns {Set<number>}
 */
function numbersOf(word, field) {
  const numbers = new Set();
  for (const part of word.split(',')) {
    const [, range, step] = /^([^/]+)(?:\/(\d+))?$/.exec(part) ?? [];
    const [first, last] = boundsOf(range ?? '', field, step !== undefined);
    const by = Number(step ?? 1);
    if (Number.isNaN(first) || Number.isNaN(last) || first > last || by < 1) {
      throw new Error(`has ${JSON.stringify(part)} for the ${field.name}, from ${field.min} to ${field.max}`);
    }
    for (let number = first; number <= last; number += by) numbers.add(number);
  }
  return numbers;
}

/**
 * @param {string} range
 * @param {typeof FIELDS[number]} field
 * @param {boolean} isStepped
 * @returns {[number, number]} NaN for what is no number of the field
 */
function boundsOf(range, field, isStepped) {
  const { min, max, names = [] } = field;
  if (range === '*') return [min, max];
  const [first, last, more] = range.split('-').map((word) => {
    const name = names.indexOf(word);
    if (name >= 0) return name + min;
    const number = /^\d+$/.test(word) ? Number(word) : Number.NaN;
    return number >= min && number <= max ? number : Number.NaN;
  });
  if (more !== undefined) return [Number.NaN, Number.NaN];
  return [first, last ?? (isStepped ? max : first)];
}

module.exports = { parseCron };
