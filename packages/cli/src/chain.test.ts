import type { ActionExplanation } from '@brink/protocol';
import { expect, test } from 'vitest';
import { actionChain } from './chain.ts';

const plain = (_: string, text: string) => text;
const TIME = '2026-11-22T16:00:00.000Z';

const chain = (fields: Partial<ActionExplanation>): ActionExplanation => ({
  action: {
    ...{ id: 'x', kind: 'webhook', target: 'duty', state: 'sent', decision: 'root', n: 0, index: 0, attempts: 1 },
    config: { webhook: { target: 'duty', body: { text: 'cat' }, expires_ms: 60_000 } },
    ...{ created_at: TIME, expires_at: TIME },
  },
  ...{ cause: 'person', by: 'ann', ack: null, because: null, decision: null, model: null, prepared: null, frame: null },
  attempts: [{ attempt: 1, leased_at: TIME, sent_at: TIME, result: 'sent' }],
  ...fields,
});

const because: NonNullable<ActionExplanation['because']> = {
  ...{ rule: 'flap', key: 'cam-1', before: 'idle', after: 'idle', values: { 'decision.label': 'cat' } },
  condition: { field: 'when', text: 'decision.label == "cat"', holds: true },
  ...{ at: TIME, age_ms: 5, stale_ms_max: 10_000, revision: 'c7f1a2000000' },
};

test('what a person ordered ends with who did', () => {
  expect(actionChain(chain({}), plain)).toEqual([
    'webhook duty  sent',
    '    id             x',
    '    body           {"text":"cat"}',
    '↑ acknowledged',
    '    ack            none yet',
    '↑ dispatched',
    `    attempt 1      sent at ${TIME}`,
    '↑ because somebody ordered it',
    '    by             ann',
  ]);
});

test('what was fired as a test says by whom, and that a sample is no decision', () => {
  const lines = actionChain(
    chain({ cause: 'test', because: { ...because, test: { by: 'ann', sample: true } } }),
    plain,
  );
  const from = lines.indexOf('↑ because somebody fired the rule, to see what it does');
  expect(lines.slice(from + 1, from + 3)).toEqual([
    '    by             ann',
    '    rule           flap for cam-1: idle → idle',
  ]);
  expect(lines.at(-1)).toBe('    filled from    a sample; there was no decision');
});

test('agreement, absence and times of day are said', () => {
  const quorum = { of: 'device' as const, at_least: 2, within_ms: 2000, agree: ['cam-1', 'cam-2'] };
  const around = { ...because, quorum, absent_ms: 60_000, between: '22:00-06:00' };
  const lines = actionChain(chain({ cause: 'rule', because: around }), plain);
  expect(lines).toContain('    quorum         cam-1, cam-2; needed 2 devices within 2000 ms');
  expect(lines).toContain('    absent         nothing came for 60000 ms');
  expect(lines).toContain('    between        22:00-06:00');
});

test('a decision that is no longer kept is said to be gone', () => {
  const { action } = chain({});
  const gone = chain({
    cause: 'timer',
    because,
    action: { ...action, rule: 'flap', decision: 'cam-1.front.k3v9.1.0.a' },
  });
  const lines = actionChain(gone, plain);
  expect(lines).toContain('↑ because of the rule, when its time had come');
  expect(lines.at(-1)).toBe('    decision       cam-1.front.k3v9.1.0.a (not kept any more)');
});
