import { describe, expect, it } from 'vitest';
import { compileExpression, type Variables } from './expression.ts';

const objects = (count: number) =>
  Array.from({ length: count }, (_, index) => ({
    label: index % 2 ? 'cat' : 'dog',
    score: 0.5,
    box: [0, 0, 1, 1] as [number, number, number, number],
  }));
const variables = (count: number): Variables => ({
  ...{ device: 'cam-1', stream: 'front', pipeline: 'pets', previous: {} },
  decision: { label: 'cat', score: 0.5, objects: objects(count) },
});

const doubling = (times: number) =>
  `["abcdefgh"]${Array.from({ length: times }, () => '.map(a, a + a)').join('')}.size() > 5`;
const pairs = 'decision.objects.exists(a, decision.objects.exists(b, a.label == "cow" && b.label == "cow"))';

describe('what an expression costs is known before it is evaluated', () => {
  it.each([
    ['a text that doubles with every word', doubling(25), 'too costly: more than 2000000 steps'],
    [
      'lists of lists',
      `${'decision.objects.map(a, decision.objects)'.repeat(1)}.map(l, l + l)${'.map(l, l + l)'.repeat(20)}.size() > 1`,
      'too costly',
    ],
    [
      'sums of lists in loops',
      `[0].map(i, decision.objects${' + decision.objects'.repeat(60)}).all(l, l${'.map(x, [x, x, x, x, x, x, x, x])'.repeat(12)}.size() > 0)`,
      'too costly',
    ],
    ['bind', 'cel.bind(x, decision.label, x == "cat")', 'bind(): not allowed'],
  ])('%s is refused', (_, text, said) => {
    expect(() => compileExpression(text)).toThrow(said);
  });

  it.each([
    'decision.label == "cat" && decision.score >= 0.6',
    'decision.objects.filter(o, o.score > 0.5).map(o, o.label).exists(l, l in ["cat", "dog"])',
    'decision.label.split("-").map(part, part.upperAscii()).join(" ").contains("CAT")',
    doubling(8),
    pairs,
  ])('%s is not', (text) => {
    expect(() => compileExpression(text)).not.toThrow();
  });

  it('pairs of objects are looked at as far as there are not too many', () => {
    const expression = compileExpression(pairs);
    expect(expression.evaluate(variables(200))).toBe(false);
    expect(() => expression.evaluate(variables(1000))).toThrow(
      'a decision with 1000 objects, classes or values; this is too costly',
    );
  });

  it('the dearest evaluation that is let through ends soon', () => {
    const expression = compileExpression(pairs);
    let most = 16;
    for (let step = 512; step >= 1; step >>= 1) {
      try {
        expression.evaluate(variables(most + step));
        most += step;
      } catch {
        // Too many: it was refused, not run.
      }
    }
    expect(most).toBeGreaterThan(200);
    const started = performance.now();
    expression.evaluate(variables(most));
    expect(performance.now() - started).toBeLessThan(1000);
  });
});
