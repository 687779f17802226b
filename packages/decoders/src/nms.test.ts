import { describe, expect, it } from 'vitest';
import { between, type Random, seeded, whole } from './examples.testing.ts';
import { type Candidates, type Corners, iou, suppress } from './nms.ts';

const SEEDS = Array.from({ length: 60 }, (_, seed) => seed + 1);

function drawn(random: Random): Candidates {
  const count = whole(random, 0, 80);
  const boxes = Array.from({ length: count }, (): Corners => {
    const [x, y] = [between(random, -0.1, 0.9), between(random, -0.1, 0.9)];
    return [x, y, x + between(random, 0.05, 0.5), y + between(random, 0.05, 0.5)];
  });
  // Few different scores, so that equal ones occur.
  return {
    boxes,
    scores: boxes.map(() => whole(random, 0, 20) / 20),
    classes: boxes.map(() => whole(random, 0, 2)),
  };
}

const pick = ({ boxes, scores, classes }: Candidates, indices: readonly number[]): Candidates => ({
  boxes: indices.map((at) => boxes[at]!),
  scores: indices.map((at) => scores[at]!),
  classes: indices.map((at) => classes[at]!),
});

/** The largest overlap among those that compete. */
function worst({ boxes, classes }: Candidates, how: 'class' | 'agnostic'): number {
  let most = 0;
  for (let a = 0; a < boxes.length; a++) {
    for (let b = 0; b < a; b++) {
      if (how === 'agnostic' || classes[a] === classes[b]) most = Math.max(most, iou(boxes[a]!, boxes[b]!));
    }
  }
  return most;
}

describe('iou', () => {
  it.each([
    ['the same', [0, 0, 2, 2], [0, 0, 2, 2], 1],
    ['half', [0, 0, 2, 2], [0, 0, 2, 1], 0.5],
    ['a quarter over', [0, 0, 2, 2], [1, 1, 3, 3], 1 / 7],
    ['side by side', [0, 0, 1, 1], [1, 0, 2, 1], 0],
    ['without area', [0, 0, 0, 1], [0, 0, 0, 1], 0],
    ['turned over', [1, 1, 0, 0], [0, 0, 1, 1], 0],
  ] as const)('%s', (_, a, b, expected) => {
    expect(iou(a, b)).toBeCloseTo(expected, 12);
    expect(iou(b, a)).toBeCloseTo(expected, 12);
  });
});

describe.each(['class', 'agnostic'] as const)('suppression (%s)', (how) => {
  it.each([0.1, 0.45, 0.9])(
    'over %d: sorted, a subset, nothing that competes overlaps more, again changes nothing',
    (threshold) => {
      for (const seed of SEEDS) {
        const all = drawn(seeded(seed));
        const kept = suppress(all, { threshold, how, max: 1000 });
        expect(new Set(kept).size).toBe(kept.length);
        expect(kept.every((at) => at >= 0 && at < all.boxes.length)).toBe(true);
        const left = pick(all, kept);
        expect(left.scores).toEqual(left.scores.toSorted((a, b) => b - a));
        expect(worst(left, how)).toBeLessThanOrEqual(threshold);
        expect(suppress(left, { threshold, how, max: 1000 })).toEqual(kept.map((_, at) => at));
      }
    },
  );

  it('takes nothing without a reason: whatever went overlaps one that stayed and is no worse', () => {
    for (const seed of SEEDS) {
      const all = drawn(seeded(seed));
      const kept = suppress(all, { threshold: 0.45, how, max: 1000 });
      for (let at = 0; at < all.boxes.length; at++) {
        if (kept.includes(at)) continue;
        const rival = kept.some(
          (other) =>
            all.scores[other]! >= all.scores[at]! &&
            (how === 'agnostic' || all.classes[other] === all.classes[at]) &&
            iou(all.boxes[other]!, all.boxes[at]!) > 0.45,
        );
        expect(rival, `seed ${seed}, box ${at}`).toBe(true);
      }
    }
  });

  it('gives the first of them where fewer are wanted', () => {
    for (const seed of SEEDS) {
      const all = drawn(seeded(seed));
      const kept = suppress(all, { threshold: 0.45, how, max: 1000 });
      expect(suppress(all, { threshold: 0.45, how, max: 3 })).toEqual(kept.slice(0, 3));
    }
  });
});

describe('suppression', () => {
  it('over all classes keeps the best box too, and is the same as per class where there is one class', () => {
    for (const seed of SEEDS) {
      const all = drawn(seeded(seed));
      const kept = (how: 'class' | 'agnostic', of: Candidates) => suppress(of, { threshold: 0.45, how, max: 1000 });
      expect(kept('agnostic', all)[0]).toBe(kept('class', all)[0]);
      const one = { ...all, classes: all.classes.map(() => 1) };
      expect(kept('agnostic', one)).toEqual(kept('class', one));
    }
  });

  it('need not keep over all classes what it keeps per class, nor the other way round', () => {
    // a suppresses b over all classes; b then no longer suppresses c of its own class.
    const all: Candidates = {
      boxes: [
        [0, 0, 10, 10],
        [3, 0, 13, 10],
        [6, 0, 16, 10],
      ],
      scores: [0.9, 0.8, 0.7],
      classes: [0, 1, 1],
    };
    expect(suppress(all, { threshold: 0.5, how: 'agnostic', max: 9 })).toEqual([0, 2]);
    expect(suppress(all, { threshold: 0.5, how: 'class', max: 9 })).toEqual([0, 1]);
  });

  it('lets everything through where the model has done it, best first', () => {
    const all = drawn(seeded(3));
    const kept = suppress(all, { threshold: 0, how: 'none', max: 1000 });
    expect(kept.toSorted((a, b) => a - b)).toEqual(all.boxes.map((_, at) => at));
    expect(worst(all, 'class')).toBeGreaterThan(0.45);
  });

  it('is bounded: a hundred thousand boxes apart take no minute', () => {
    const boxes = Array.from({ length: 100_000 }, (_, at): Corners => [at, 0, at + 1, 1]);
    const all = { boxes, scores: boxes.map((_, at) => 1 / (at + 1)), classes: boxes.map(() => 0) };
    expect(suppress(all, { threshold: 0.5, how: 'class', max: 1000 })).toHaveLength(1000);
  });
});
