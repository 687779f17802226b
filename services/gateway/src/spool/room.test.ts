import { describe, expect, it } from 'vitest';
import type { Spooled } from '../ingest/frame.ts';
import { createBoots } from './boots.ts';
import { hasRoom, unaskedToGo, whoGoes } from './room.ts';
import { createRows } from './rows.ts';

const LIMITS = { rowsMax: 4, bytesMax: 1000, ageMsMax: 500_000 };
let lastId = 0;

/** @param boots `device/boot` of each row, in their order */
function rowsOf(...boots: string[]) {
  const rows = createRows();
  const all = boots.map((text) => {
    const [device = '', boot = ''] = text.split('/');
    const id = ++lastId;
    const nothing = { left: new Set<string>(), out: new Set<string>(), attempts: new Map(), cutting: new Map() };
    const spooled: Spooled = {
      id,
      device,
      stream: 's',
      boot,
      seq: id,
      bytes: 10,
      receivedMs: 0,
      samples: undefined,
      ...nothing,
    };
    rows.add(spooled);
    return spooled;
  });
  return { rows, of: rows.of('s'), all };
}

const takes = ({ of }: ReturnType<typeof rowsOf>, bytes = 10) => hasRoom(of, LIMITS, true, bytes);
const many = (count: number, name: (i: number) => string) => Array.from({ length: count }, (_, i) => name(i));

describe('room of a stream in which only more samples let anything go', () => {
  it('is there for a single boot until its window is whole, within reason', () => {
    expect(takes(rowsOf(...many(4, () => 'a/1')))).toBe(true);
    expect(hasRoom(rowsOf(...many(4, () => 'a/1')).of, LIMITS, false, 10)).toBe(false);
    expect(takes(rowsOf(...many(127, () => 'a/1')))).toBe(true);
    expect(takes(rowsOf(...many(128, () => 'a/1')))).toBe(false);
    expect(takes(rowsOf(...many(4, () => 'a/1')), 40_000)).toBe(false);
  });

  it('is there for several devices up to twice the limits; then that one goes which was silent for longest', () => {
    const eight = rowsOf('a/1', ...many(6, () => 'b/1'), 'a/1');
    expect(takes(rowsOf('a/1', ...many(6, () => 'b/1')))).toBe(true);
    expect(takes(eight)).toBe(false);
    expect(whoGoes(eight.of, LIMITS, 'a')).toEqual([{ device: 'b', boot: '1' }]);
    expect(whoGoes(eight.of, LIMITS, 'b')).toEqual([{ device: 'a', boot: '1' }]);
    expect(whoGoes(rowsOf('a/1').of, LIMITS, 'a')).toEqual([{ device: 'a', boot: '1' }]);
    expect(whoGoes(rowsOf().of, LIMITS, 'a')).toEqual([]);
  });

  it('is made by boots after which the device began another one, until a quarter is free', () => {
    const { rows, of, all } = rowsOf('a/1', 'a/2', 'b/1', 'a/3', 'a/3');
    expect(takes({ rows, of, all })).toBe(false);
    expect(whoGoes(of, LIMITS, 'b')).toEqual([
      { device: 'a', boot: '1' },
      { device: 'a', boot: '2' },
    ]);
    for (const spooled of all.slice(0, 2)) rows.remove(spooled);
    expect(of.superseded).toBe(0);
    expect([...of.boots]).toEqual([
      ['b', new Map([['1', 1]])],
      ['a', new Map([['3', 2]])],
    ]);
  });
});

describe('rows that nobody asks for', () => {
  it('go when they are too old; where others want their place, a minute after the configuration', () => {
    const few = rowsOf('a/1');
    const full = rowsOf(...many(4, () => 'a/1'));
    for (const { of, all } of [few, full]) for (const { id } of all) of.unasked.add(id);
    expect(unaskedToGo(few.of, LIMITS, 499_999)).toEqual([]);
    expect(unaskedToGo(few.of, LIMITS, 500_000)).toEqual(few.all);
    full.of.sinceMs = 1000;
    expect(unaskedToGo(full.of, LIMITS, 60_999)).toEqual([]);
    expect(unaskedToGo(full.of, LIMITS, 61_000)).toEqual(full.all);
  });
});

describe('boots', () => {
  it('that are too many are to be forgotten until that is committed, unless they come back', () => {
    const boots = createBoots();
    const find = (boot: string) => boots.find('a', 's', boot);
    for (const boot of many(16, (i) => `b${i}`)) expect(find(boot).forgets).toBeUndefined();
    expect(find('b16').forgets).toBe('b0');
    expect(find('b16').forgets).toBe('b0');
    expect(find('b0').forgets).toBe('b1');
    expect(find('b16').forgets).toBeUndefined();
  });
});
