import { type RuleConfig, RuleSchema } from '@brink/protocol';
import type { KeyState } from '@brink/rules';
import { expect, test } from 'vitest';
import { waitsFor } from './waits.ts';

const T0 = Date.parse('2026-11-22T16:00:00Z');
const rule = (fields: Record<string, unknown>): RuleConfig =>
  RuleSchema.parse(
    Object.fromEntries([
      ...Object.entries({ on: ['a', 'b'], when: 'decision.label == "cat"', ...fields }),
      ['then', [{ command: { device: 'siren-1', name: 'sound' } }]],
    ]),
  );
const at = (fields: Partial<KeyState> = {}): KeyState => ({ state: 'idle', sinceMs: T0, ...fields });
const cooldown = { untilMs: T0 + 5000, emittedMs: T0, reservedMs: T0 + 60_000, open: ['x'], sent: false };
const CAT = 'decision.label == "cat"';

test.each<[string, Record<string, unknown>, Partial<KeyState>, string]>([
  ['its condition', {}, {}, `when: ${CAT}`],
  [
    'more of the count',
    { for: { at_least: 3, of: 5 } },
    { state: 'arming', history: '1011' },
    `when: ${CAT}; held on 3 of the last 4, needs 3 of 5`,
  ],
  [
    'time, with the condition holding',
    { for: { ms: 2000 } },
    { state: 'arming', dueMs: T0 + 2000 },
    `fires at 2026-11-22T16:00:02.000Z, if until then: ${CAT}`,
  ],
  [
    'the others of a quorum',
    { quorum: { pipelines: 2, within_ms: 2000 } },
    {
      votes: {
        newestMs: T0,
        list: [
          ['b', T0, false],
          ['a', T0, true],
        ],
      },
    },
    `when: ${CAT}; on 2 pipelines within 2000 ms, a agrees`,
  ],
  ['the time of day', { between: '22:00-06:00' }, {}, `when: ${CAT}; only 22:00-06:00 by the site's clock`],
  [
    'a decision that is in time, where the one that began it was not',
    {},
    { state: 'active', missed: true },
    `release: no longer ${CAT}; or to act on a decision in time: ${CAT}`,
  ],
  [
    'silence that lasts, where nobody was told of it in time',
    { when: undefined, absent_ms: 60_000 },
    { state: 'active', missed: true, dueMs: T0 + 2000 },
    'release: a decision; or fires at 2026-11-22T16:00:02.000Z, unless a decision comes',
  ],
  [
    'a decision that is in time, where the one that ended it was not',
    {},
    { emitted: true },
    `when: ${CAT}; or to run on_release on a decision in time: no longer ${CAT}`,
  ],
  [
    'anybody of a quorum',
    { quorum: { devices: 2, within_ms: 500 }, by: [] },
    {},
    `when: ${CAT}; on 2 devices within 500 ms, none agrees`,
  ],
  [
    'its own release',
    { release: { when: 'decision.score < 0.4', ms: 500 } },
    { state: 'active' },
    'release: decision.score < 0.4',
  ],
  ['the end of its condition', {}, { state: 'active' }, `release: no longer ${CAT}`],
  [
    'the end of the release',
    { release: { ms: 500 } },
    { state: 'releasing', dueMs: T0 + 500 },
    `released at 2026-11-22T16:00:00.500Z, if until then: no longer ${CAT}`,
  ],
  ['a first decision', { when: undefined, absent_ms: 1000 }, {}, 'a decision, and then 1000 ms without'],
  [
    'nothing coming',
    { absent_ms: 1000 },
    { state: 'arming', dueMs: T0 + 1000 },
    `fires at 2026-11-22T16:00:01.000Z, unless a decision on which it holds: ${CAT} comes`,
  ],
  [
    'its actions to leave',
    { cooldown_ms: 5000 },
    { cooldown },
    `when: ${CAT}; silent until its actions have left, and 5000 ms from then on`,
  ],
  [
    'the end of its cooldown',
    {},
    { cooldown: { ...cooldown, open: [], sent: true } },
    `when: ${CAT}; silent until 2026-11-22T16:00:05.000Z`,
  ],
])('a key says that it waits for %s', (_, fields, state, expected) => {
  expect(waitsFor(rule(fields), at(state), T0 + 1)).toBe(expected);
});

test('a cooldown that is over is not spoken of', () => {
  const over = at({ cooldown: { ...cooldown, open: [], sent: true } });
  expect(waitsFor(rule({}), over, T0 + 5000)).toBe(`when: ${CAT}`);
});
