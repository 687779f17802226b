import type { ActionRecord, Decision } from '@brink/protocol';
import { expect, test } from 'vitest';
import { createLive } from './live.ts';

const plain = (_colour: string, text: string) => text;

function decision(label: string, device = 'cam-1'): Decision {
  return {
    ...{
      v: 1,
      id: `${device}.front.abcd.1.0.pets`,
      n: 1,
      device,
      stream: 'front',
      pipeline: 'pets',
      outcome: 'decided',
    },
    ...{ label, label_text: '猫', score: 0.97, frames: { boot: 'abcd', first: 1, last: 1, received: 1 } },
    ...{
      model: { name: 'm', version: 1 },
      received_at: '2026-11-22T18:22:01.000Z',
      latency_ms: 12,
      revision: 'c7f1a2c7f1a2',
    },
  } as Decision;
}

const action = (state: ActionRecord['state'], ack: 'required' | 'none' = 'required') =>
  ({
    ...{
      id: 'x~r~0',
      kind: 'command',
      target: 'feeder-1',
      state,
      decision: 'x',
      n: 1,
      index: 0,
      attempts: 1,
      rule: 'r',
    },
    config: { command: { device: 'feeder-1', name: 'open', args: {}, expires_ms: 1000, ack } },
    ...{ created_at: '2026-11-22T18:22:01.000Z', expires_at: '2026-11-22T18:22:06.000Z' },
    ...(state === 'acked' ? { ack: { status: 200, at: '2026-11-22T18:22:01.035Z' } } : {}),
  }) as ActionRecord;

test('a decision is one readable line', () => {
  const [line] = createLive(plain, () => 0).decision(decision('cat'));
  expect(line).toMatch(/^\d\d:\d\d:\d\d cam-1\/front pets {2}cat 猫 0\.97 {2}12 ms$/);
});

test('the same verdict again is counted, a change is shown', () => {
  let now = 0;
  const live = createLive(plain, () => now);
  expect(live.decision(decision('cat'))).toHaveLength(1);
  for (let i = 0; i < 9; i++) expect(live.decision(decision('cat'))).toHaveLength(0);
  expect(live.decision(decision('dog'))).toHaveLength(1);
  now = 5000;
  expect(live.summary().join()).toMatch(/last 5 s: 11 pets; median 12 ms; 9 repeats not shown/);
  expect(live.summary()).toEqual([]);
});

test('the summary takes what others counted, also where nothing was decided', () => {
  const live = createLive(plain, () => 0);
  expect(live.summary(['3 more refused E_X']).join()).toMatch(/last 1 s: 3 more refused E_X$/);
});

test('a thousand changes a second stay readable', () => {
  let now = 0;
  const live = createLive(plain, () => now);
  let shown = 0;
  for (; now < 10_000; now += 1) shown += live.decision(decision(`label-${now}`, `cam-${now % 50}`)).length;
  expect(shown).toBeLessThan(30);
  expect(shown).toBeGreaterThan(10);
});

test('an action is shown when it has come to its end', () => {
  const live = createLive(plain, () => 0);
  expect(live.action(action('pending'))).toEqual([]);
  expect(live.action(action('sent'))).toEqual([]);
  expect(live.action(action('acked')).join()).toMatch(/→ feeder-1 open acked 35 ms {2}rule r$/);
  expect(live.action(action('sent', 'none'))).toHaveLength(1);
  expect(live.action(action('expired')).join()).toMatch(/→ feeder-1 open expired/);
});
