'use strict';

// What a user has written and cannot be meant: one line that says what and where, and exit status 2.

class UsageError extends Error {}

/**
 * @param {string} written
 * @param {string[]} known
 * @returns {string} to be put behind a message; empty if nothing is near
 */
function suggestion(written, known) {
  const near = known
    .map((name) => ({ name, distance: distance(written, name) }))
    .sort((a, b) => a.distance - b.distance)[0];
  const isNear = near !== undefined && near.distance <= Math.max(1, Math.floor(near.name.length / 3));
  return isNear ? `; did you mean ${near.name}?` : '';
}

/**
 * @param {string} a
 * @param {string} b
 * @returns {number} how many characters have to be put in, left out, changed or swapped with the next one
 */
function distance(a, b) {
  /** @type {number[][]} */
  const rows = [Array.from({ length: b.length + 1 }, (_, index) => index)];
  for (let i = 1; i <= a.length; i++) {
    rows.push([i]);
    for (let j = 1; j <= b.length; j++) {
      const changed = rows[i - 1][j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swapped = isSwapped ? rows[i - 2][j - 2] + 1 : Number.POSITIVE_INFINITY;
      rows[i].push(Math.min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, changed, swapped));
    }
  }
  return rows[a.length][b.length];
}

module.exports = { UsageError, suggestion };
