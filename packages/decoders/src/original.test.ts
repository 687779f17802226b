import type { Result } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { between, type Random, seeded, whole } from './examples.testing.ts';
import type { Corners } from './nms.ts';
import { type BoxTransform, boxToOriginal, resultToOriginal } from './original.ts';

const SEEDS = Array.from({ length: 100 }, (_, seed) => seed + 1);

/** As pictures are placed: the whole picture in the middle (letterbox), its middle (crop), or each side for itself (stretch). */
function drawn(random: Random) {
  const original = { width: whole(random, 20, 4000), height: whole(random, 20, 4000) };
  const target = { width: whole(random, 16, 640), height: whole(random, 16, 640) };
  const ratios = [target.width / original.width, target.height / original.height] as const;
  const fit = (['stretch', 'letterbox', 'crop'] as const)[whole(random, 0, 2)]!;
  const scale = fit === 'letterbox' ? Math.min(...ratios) : Math.max(...ratios);
  const [scaleX, scaleY] = fit === 'stretch' ? ratios : [scale, scale];
  const offsetX = Math.floor((target.width - original.width * scaleX) / 2);
  const offsetY = Math.floor((target.height - original.height * scaleY) / 2);
  return { fit, original, target, transform: { scaleX, scaleY, offsetX, offsetY } };
}

/** The other way round: where a box of the original lies in the model's picture; may lie beyond it. */
function toTarget(box: Corners, { transform: t, original, target }: ReturnType<typeof drawn>): Corners {
  const x = (part: number) => (part * original.width * t.scaleX + t.offsetX) / target.width;
  const y = (part: number) => (part * original.height * t.scaleY + t.offsetY) / target.height;
  return [x(box[0]), y(box[1]), x(box[2]), y(box[3])];
}

function boxIn(random: Random): Corners {
  const [x, y] = [between(random, 0, 0.8), between(random, 0, 0.8)];
  return [x, y, x + between(random, 0.05, 1 - x), y + between(random, 0.05, 1 - y)];
}

describe('a box of the original', () => {
  it('comes back from the picture of the model, however that was made of it', () => {
    const seen = new Set<string>();
    for (const seed of SEEDS) {
      const random = seeded(seed);
      const placed = drawn(random);
      seen.add(placed.fit);
      const box = boxIn(random);
      const back = boxToOriginal(toTarget(box, placed), placed.transform, placed.target, placed.original);
      for (const [side, value] of box.entries()) expect(back[side], `seed ${seed}`).toBeCloseTo(value, 5);
    }
    expect([...seen].sort()).toEqual(['crop', 'letterbox', 'stretch']);
  });

  it('does not come back with another transform: the offset counts', () => {
    const placed = {
      fit: 'letterbox' as const,
      original: { width: 200, height: 100 },
      target: { width: 100, height: 100 },
      transform: { scaleX: 0.5, scaleY: 0.5, offsetX: 0, offsetY: 25 },
    };
    const box: Corners = [0.1, 0.2, 0.5, 0.6];
    const there = toTarget(box, placed);
    expect(there).toEqual([0.1, 0.35, 0.5, 0.55]);
    expect(boxToOriginal(there, placed.transform, placed.target, placed.original)).toEqual(box);
    const without = { ...placed.transform, offsetY: 0 };
    expect(boxToOriginal(there, without, placed.target, placed.original)).not.toEqual(box);
  });
});

describe('a box of the picture of the model', () => {
  it('lies in 0..1 of the original, whatever it was', () => {
    for (const seed of SEEDS) {
      const random = seeded(seed);
      const { transform, target, original } = drawn(random);
      const [x0, y0, x1, y1] = boxToOriginal(boxIn(random), transform, target, original);
      for (const side of [x0, y0, x1, y1]) expect(side >= 0 && side <= 1).toBe(true);
      expect(x0 <= x1 && y0 <= y1).toBe(true);
    }
  });
});

describe('a result', () => {
  const transform: BoxTransform = { scaleX: 0.5, scaleY: 0.5, offsetX: 0, offsetY: 25 };
  const sizes = [
    { width: 100, height: 100 },
    { width: 200, height: 100 },
  ] as const;
  const objects = [
    { label: 'shadow', score: 0.9, box: [0, 0, 1, 0.25] as Corners },
    { label: 'cat', label_text: '猫', score: 0.8, box: [0, 0.25, 0.5, 0.5] as Corners },
  ].map((object) => ({ ...object, box: [...object.box] as [number, number, number, number] }));

  it('loses what lies in the padding, and says the best of the rest', () => {
    const result: Result = { task: 'detection', label: 'shadow', score: 0.9, objects };
    expect(resultToOriginal(result, transform, ...sizes)).toEqual({
      task: 'detection',
      label: 'cat',
      label_text: '猫',
      score: 0.8,
      objects: [{ label: 'cat', label_text: '猫', score: 0.8, box: [0, 0, 0.5, 0.5] }],
    });
    const only: Result = { ...result, label_text: '影', objects: objects.slice(0, 1) };
    expect(resultToOriginal(only, transform, ...sizes)).toEqual({
      task: 'detection',
      label: 'none',
      score: 0,
      objects: [],
    });
  });

  it('without objects is left alone', () => {
    const result: Result = { task: 'classification', label: 'cat', score: 0.5 };
    expect(resultToOriginal(result, transform, ...sizes)).toBe(result);
  });
});
