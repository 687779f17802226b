import { describe, expect, it } from 'vitest';
import { formatActionId, formatUnitId, parseSeq, parseUnitId } from './ids.ts';

describe('unit ids', () => {
  const unit = { device: 'cam-1', stream: 'front', boot: 'k3v9', seq: 1042, part: 0, pipeline: 'people' };

  it('go there and back', () => {
    expect(formatUnitId(unit)).toBe('cam-1.front.k3v9.1042.0.people');
    expect(parseUnitId('cam-1.front.k3v9.1042.0.people')).toEqual(unit);
  });

  it.each([
    '',
    'cam-1',
    'cam-1.front.k3v9.1042.0',
    'cam-1.front.k3v9.1042.0.people.x',
    'CAM.front.k3v9.1.0.p',
    'c.f.k3.1.0.p',
    'c.f.k3v9.0.0.p',
    'c.f.k3v9.1.-1.p',
    'c.f.k3v9.1e3.0.p',
  ])('refuses "%s"', (text) => {
    expect(() => parseUnitId(text)).toThrow(/E_BAD_REQUEST/);
  });
});

describe('action ids', () => {
  it('are the same for the same rule on the same decision, and differ by index and by timer', () => {
    const decision = 'cam-1.front.k3v9.1042.0.people';
    expect(formatActionId({ decision }, 'night', 0)).toBe(`${decision}~night~0`);
    expect(formatActionId({ decision, timer: { key: 'cam-1', dueMs: 99 } }, 'night', 1)).toBe(
      `${decision}~night~cam-1~99~1`,
    );
  });
});

describe('sequence numbers', () => {
  it.each([
    ['1', 1],
    ['9007199254740991', 9007199254740991],
    ['9007199254740992', undefined],
    ['0', undefined],
    ['-1', undefined],
    ['1.5', undefined],
    ['', undefined],
  ])('%s → %s', (text, seq) => {
    expect(parseSeq(text)).toBe(seq);
  });
});
