import { BrinkError } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { between, type Random, seeded, whole } from './examples.testing.ts';
import { compile } from './expression.ts';

const value = (source: string, obj = 0.5, kind = 0.25) =>
  compile(source, ['obj', 'class'], 'output.score')([obj, kind]);

function refusal(source: string): string {
  try {
    compile(source, ['obj', 'class'], 'output.score');
    return 'nothing';
  } catch (error) {
    return BrinkError.from(error).message;
  }
}

describe('an expression', () => {
  it.each([
    ['1 + 2 * 3', 7],
    ['(1 + 2) * 3', 9],
    ['8 / 4 / 2', 1],
    ['8 - 4 - 2', 2],
    ['-2 * -3', 6],
    ['- - 2', 2],
    ['2 - -1', 3],
    ['.5 + 1. + 1e1 + 1.5e-1', 11.65],
    ['obj * class', 0.125],
    ['pow(obj, 2) + sqrt(class)', 0.75],
    ['min(obj, class, 3) + max(1, 2)', 2.25],
    ['  obj\n+\tclass ', 0.75],
    ['pow(obj, .6) * pow(class, .4)', 0.5 ** 0.6 * 0.25 ** 0.4],
  ])('%s', (source, expected) => {
    expect(value(source)).toBeCloseTo(expected, 12);
  });

  it.each([
    ['', /^E_PASSPORT: output.score: character 1 of "": the end; expected a number, a name or \(/],
    ['obj *', /character 6 of "obj \*": the end/],
    ['obj class', /character 5 .*"class"; expected \+ - \* \/ or the end/],
    ['obj * score', /character 7 .*"score"; expected one of obj, class/],
    ['(obj', /character 5 .*the end; expected \)/],
    ['obj)', /character 4 .*"\)"/],
    ['exp(obj)', /character 1 .*"exp\("; expected one of pow, sqrt, min, max/],
    ['toString(obj)', /character 1 .*"toString\("/],
    ['constructor', /character 1 .*"constructor"/],
    ['pow(obj)', /character 1 .*pow of 1; expected 2/],
    ['min(obj)', /character 1 .*min of 1; expected 2 to 8/],
    ['pow(obj, class', /character 15 .*expected \)/],
    ['obj ? 1 : 2', /character 5 .*"\?"/],
    ['obj ** 2', /character 6 .*"\*"/],
    ['0x10', /character 2 .*"x10"/],
    ['obj; class', /character 4 .*";"/],
    ['猫', /character 1 .*"猫"/],
  ])('%s is refused with its place', (source, pattern) => {
    expect(refusal(source)).toMatch(pattern);
  });

  it('is of bounded length and depth', () => {
    expect(refusal(`${'1+'.repeat(100)}1`)).toMatch(/has 201 characters; expected at most 200/);
    expect(refusal(`${'('.repeat(60)}1${')'.repeat(60)}`)).toMatch(/character 34 .*nested deeper than 32/);
    expect(refusal(`${'-'.repeat(60)}1`)).toMatch(/nested deeper than 32/);
    expect(value(`${'('.repeat(30)}obj${')'.repeat(30)}`)).toBe(0.5);
  });

  it('means what arithmetic means: drawn expressions against their value', () => {
    for (let seed = 1; seed <= 300; seed++) {
      const random = seeded(seed);
      const [obj, kind] = [random(), random()];
      const { text, result } = drawn(random, 3, { obj, class: kind });
      if (text.length > 200) continue;
      expect(value(text, obj, kind), text).toBeCloseTo(result, 6);
    }
  });
});

/** An expression and what it is worth, made side by side. Divisors stay away from 0. */
function drawn(
  random: Random,
  depth: number,
  names: Readonly<Record<string, number>>,
): { text: string; result: number } {
  const kind = depth === 0 ? whole(random, 0, 1) : whole(random, 0, 6);
  if (kind === 0) {
    const number = Number(between(random, 0, 3).toFixed(2));
    return { text: String(number), result: number };
  }
  if (kind === 1) {
    const name = random() < 0.5 ? 'obj' : 'class';
    return { text: name, result: names[name]! };
  }
  const [a, b] = [drawn(random, depth - 1, names), drawn(random, depth - 1, names)];
  if (kind === 2) return { text: `(${a.text} + ${b.text})`, result: a.result + b.result };
  if (kind === 3) return { text: `(${a.text} - ${b.text})`, result: a.result - b.result };
  if (kind === 4) return { text: `${a.text} * ${b.text}`, result: a.result * b.result };
  if (kind === 5) return { text: `max(${a.text}, ${b.text})`, result: Math.max(a.result, b.result) };
  return { text: `(${a.text} / (1 + max(0, ${b.text})))`, result: a.result / (1 + Math.max(0, b.result)) };
}
