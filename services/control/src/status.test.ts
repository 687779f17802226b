import { expect, test } from 'vitest';
import { brokenLaws, lawsOf, problemsOf } from './status.ts';

const stream = {
  device: 'cam-1',
  stream: 'front',
  received: 10,
  accepted: 4,
  duplicate: 1,
  rejected: 2,
  dropped: 3,
  last_at_ms: 0,
};
const pipeline = { pipeline: 'pets', formed: 9, decided: 1, expired: 2, dead: 1, dropped: 3, pending: 2 };
const report = (change: object = {}, pipelineChange: object = {}) => ({
  report: {
    instance: 'gateway-1',
    at_ms: 0,
    streams: [{ ...stream, ...change }],
    pipelines: [{ ...pipeline, ...pipelineChange }],
    discovered: [],
  },
});

test('both laws hold of nothing, and of sums that are right', () => {
  expect(lawsOf([])).toMatchObject({ streams: { holds: true, items: [] }, pipelines: { holds: true, items: [] } });
  expect(lawsOf([report(), report()])).toMatchObject({ streams: { holds: true }, pipelines: { holds: true } });
});

test.each(['received', 'accepted', 'duplicate', 'rejected', 'dropped'] as const)(
  'one frame more or less in %s breaks the first law',
  (name) => {
    for (const by of [-1, 1]) {
      const laws = lawsOf([report(), report({ [name]: stream[name] + by })]);
      expect(laws.streams.holds).toBe(false);
      expect(laws.streams.items.map(({ holds }) => holds)).toEqual([true, false]);
      expect(laws.pipelines.holds).toBe(true);
      expect(brokenLaws([report(), report({ [name]: stream[name] + by })])).toBe(1);
    }
  },
);

test.each(['formed', 'decided', 'expired', 'dead', 'dropped', 'pending'] as const)(
  'one unit more or less in %s breaks the second law',
  (name) => {
    const laws = lawsOf([report({}, { [name]: pipeline[name] + 1 })]);
    expect(laws.pipelines.holds).toBe(false);
    expect(laws.streams.holds).toBe(true);
  },
);

test('what a service says that it lacks is a problem of the site, by its name; what control says it knows itself', () => {
  const gateway = { service: 'gateway', instance: 'gateway-1', state: 'online' } as const;
  expect(problemsOf([{ ...gateway, ready: true, problems: [] }])).toEqual([]);
  expect(problemsOf([{ ...gateway, ready: false, problems: ['no model', 'no broker'] }])).toEqual([
    'gateway-1: no model',
    'gateway-1: no broker',
  ]);
  expect(problemsOf([{ ...gateway, ready: false }])).toEqual(['gateway-1: not ready']);
  expect(problemsOf([{ ...gateway, state: 'offline', problems: ['before it went'] }])).toEqual([]);
  expect(problemsOf([{ ...gateway, service: 'control', problems: ['no broker'] }])).toEqual([]);
});
