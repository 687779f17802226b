import type { RuleState } from '@brink/protocol';
import { expect, test } from 'vitest';
import { standingOf } from './states.ts';

const rule = (name: string, keys: Record<string, 'idle' | 'arming' | 'releasing' | 'active'>) =>
  ({ rule: name, keys: Object.entries(keys).map(([key, state]) => ({ key, state })) }) as unknown as RuleState;

test('of the keys that concern a device, the one that is furthest along counts', () => {
  const standing = standingOf({ flap: { by: ['device', 'label'] } }, [
    rule('flap', { 'cam-1:cat': 'arming', 'cam-1:dog': 'active', 'cam-1:hen': 'releasing', 'cam-2:cat': 'releasing' }),
  ]);
  expect(['cam-1', 'cam-2', 'cam-3'].map((device) => standing('flap', device))).toEqual([
    'active',
    'releasing',
    'idle',
  ]);
});

test('a rule without the device among its keys concerns every device', () => {
  const standing = standingOf({ any: { by: ['label'] } }, [rule('any', { cat: 'arming', dog: 'idle' })]);
  expect(standing('any', 'cam-1')).toBe('arming');
});

test('a rule of which nothing is known yet is idle', () => {
  expect(standingOf({}, [])('flap', 'cam-1')).toBe('idle');
});
