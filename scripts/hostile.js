'use strict';

// A hostile worker beside honest ones, and a hostile peer of a corral/net server: what they can do to the others, to the
// memory and to the descriptors of who receives what they send. Ends with 1 if that is more than it may be.
//
//   npm run hostile
//   npm run hostile -- --seconds 60 --kind server --mode json --seed 7 --attack tiny
//
// What a hostile process does follows from its seed; the first has the one that is printed, each further one the next.

const { parseArgs } = require('node:util');

const { damageOf, underAttack } = require('../__test__/helpers/hostile');

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '600' },
    before: { type: 'string', default: '5' },
    seed: { type: 'string' },
    life: { type: 'string', default: '1000' },
    kind: { type: 'string', multiple: true, default: ['cluster', 'server'] },
    mode: { type: 'string', multiple: true, default: ['json', 'advanced'] },
    attack: { type: 'string', multiple: true, default: [] },
  },
});

/**
 * How much worse honest clients may fare than beside a process that does no harm. On two processors a third process costs others
 * time whatever it does, and who sends without end has all threads of the receiver work, so the worst of three counts: nobody else,
 * one that computes, and one that sends.
 */
const MOST_TIMES = 2;

/** @param {number} milliseconds */
const ms = (milliseconds) => `${milliseconds.toFixed(1)} ms`;

/**
 * @param {Awaited<ReturnType<typeof underAttack>>} result
 */
function print({ clients, report, first, most, last }) {
  const { quiet, busy, sender, under } = clients;
  /** @param {(found: { memory: number, files: number }) => number} what */
  const show = (what) =>
    first
      .map((_, index) => [first, most, last].map((found) => what(found[index]).toFixed(0)).join(' / '))
      .join(', ');
  console.log(`  hostile processes: ${report.hostile}, their messages: ${report.messages}`);
  console.log(`  honest clients:    ${under.answered} answered, p99 without ${ms(quiet.p99)}, beside one that computes
                     ${ms(busy.p99)}, beside one that sends ${ms(sender.p99)}, beside the hostile one ${ms(under.p99)}, at most
                     ${ms(under.most)}`);
  console.log(`  event loop:        late by ${ms(report.late)} at most`);
  console.log(
    `  memory:            ${show(({ memory }) => memory)} MiB before / at most / after, of each process`,
  );
  console.log(`  descriptors:       ${show(({ files }) => files)}`);
  console.log(`  told of:           ${JSON.stringify(report.errors)}`);
}

async function main() {
  let seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
  const runs = values.kind.flatMap((kind) => values.mode.map((mode) => ({ kind, mode })));
  const seconds = Number(values.seconds) / runs.length;
  for (const { kind, mode } of runs) {
    console.log(`${kind}, ${mode}, ${seconds} s, seed ${seed}`);
    const result = await underAttack({
      kind: /** @type {'cluster' | 'server'} */ (kind),
      mode,
      seed,
      seconds,
      before: Number(values.before),
      milliseconds: Number(values.life),
      attacks: values.attack,
    });
    print(result);
    const damage = damageOf(result);
    const { quiet, busy, sender, under } = result.clients;
    const harmless = Math.max(quiet.p99, busy.p99, sender.p99);
    if (under.p99 > MOST_TIMES * harmless) damage.push('honest clients fare worse');
    for (const line of damage) console.log(`  DAMAGE: ${line}`);
    if (damage.length > 0) process.exitCode = 1;
    seed += result.report.hostile;
  }
}

main();
