import { describe, expect, it } from 'vitest';
import { compileRules } from './compile.ts';
import { context, open, play, rule } from './engine.testing.ts';
import { checkRules } from './rule-tests.ts';
import { isInside } from './zones.ts';

type Point = [number, number];
const drive: Point[] = [
  [0.1, 0.5],
  [0.9, 0.5],
  [0.9, 1],
  [0.1, 1],
];
/** A U: its notch is outside. */
const yard: Point[] = [
  [0, 0],
  [1, 0],
  [1, 1],
  [0.6, 1],
  [0.6, 0.4],
  [0.4, 0.4],
  [0.4, 1],
  [0, 1],
];

describe('a zone', () => {
  it.each<[Point[], number, number, boolean]>([
    [drive, 0.5, 0.75, true],
    [drive, 0.5, 0.49, false],
    [drive, 0.05, 0.75, false],
    [drive, 0.5, 1, true],
    [drive, 0.1, 0.5, true],
    [drive, 0.9, 0.7, true],
    [drive, 0.95, 1, false],
    [yard, 0.5, 0.2, true],
    [yard, 0.5, 0.7, false],
    [yard, 0.2, 0.7, true],
    [yard, 0.8, 0.7, true],
  ])('has inside, outside and edges', (zone, x, y, inside) => {
    expect(isInside(zone, x, y)).toBe(inside);
    expect(isInside([...zone].reverse(), x, y)).toBe(inside);
  });
});

const zones = { pets: { drive } };
const when = 'decision.objects.exists(o, o.label == "person" && inZone(o, "drive"))';
const at = (box: [number, number, number, number]) => ({ objects: [{ label: 'person', score: 0.9, box }] });

describe('inZone', () => {
  it('asks where an object stands: the middle of its lower edge', () => {
    const flap = play(rule({ when }), { zones });
    expect(flap.see(0, 'person', at([0.4, 0, 0.6, 0.4]))).toEqual([]);
    expect(flap.see(1, 'person', at([0.4, 0, 0.6, 1]))).toHaveLength(1);
    expect(flap.state.rules.flap?.errors).toBe(0);
  });

  it('takes the zones of the stream that a decision comes from', () => {
    const left: Point[] = [
      [0, 0],
      [0.5, 0],
      [0.5, 1],
      [0, 1],
    ];
    const flap = play(rule({ when, on: ['pets', 'scene'] }), { zones: { pets: { drive }, scene: { drive: left } } });
    const box: [number, number, number, number] = [0.1, 0, 0.3, 0.3];
    expect(flap.see(0, 'person', at(box))).toEqual([]);
    expect(flap.see(1, 'person', { ...at(box), pipeline: 'scene' })).toHaveLength(1);
  });

  it.each([
    ['inZone(decision.objects[0], "drve")', 'the stream of pets has no zone "drve"; expected one of drive', 29],
    ['inZone(decision.objects[0], device)', 'expected an object and the name of a zone', 1],
    ['inZone("x", "drive")', 'found no matching overload', 1],
  ])('%s is refused, with the place', (text, said, column) => {
    const [problem] = checkRules({ flap: rule({ when: text }) }, { ...context, zones });
    expect(problem?.detail).toContain(said);
    expect(problem?.column).toBe(column);
  });

  it('names the stream that lacks the zone, where a rule is on several', () => {
    const [problem] = checkRules({ flap: rule({ when, on: ['pets', 'scene'] }) }, { ...context, zones });
    expect(problem?.detail).toContain(
      'the stream of scene has no zone "drive"; expected one of none: add it to `zones`',
    );
  });

  it('may be used in a template', () => {
    const command = { ...open.command, args: { inside: '${inZone(decision.objects[0], "drive")}' } };
    expect(() => compileRules({ flap: rule({ does: [{ command }] }) }, { ...context, zones })).not.toThrow();
  });
});
