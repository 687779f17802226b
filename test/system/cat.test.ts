import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Decision } from '@brink/protocol';
import sharp, { type Sharp } from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Fleet, repository, startFleet } from '../harness/fleet.ts';

// The photograph must come out as a cat, and not by accident: whole, cropped, mirrored, brighter, darker, through everything
// that a camera's frame goes through.

const photograph = readFileSync(join(repository, 'packages/device/pictures/chelsea.png'));
const { width: WIDTH, height: HEIGHT } = { width: 451, height: 300 };
const crop = (left: number, top: number, right: number, bottom: number) => (picture: Sharp) =>
  picture.extract({
    left: Math.round(left * WIDTH),
    top: Math.round(top * HEIGHT),
    width: Math.round((right - left) * WIDTH),
    height: Math.round((bottom - top) * HEIGHT),
  });

const variants: Record<string, (picture: Sharp) => Sharp> = {
  mirrored: (picture) => picture.flop(),
  'without its left tenth': crop(0.1, 0, 1, 1),
  'without its right tenth': crop(0, 0, 0.9, 1),
  'without its top': crop(0, 0.12, 1, 1),
  'without its bottom': crop(0, 0, 1, 0.88),
  'its middle': crop(0.1, 0.1, 0.9, 0.9),
  brighter: (picture) => picture.modulate({ brightness: 1.3 }),
  darker: (picture) => picture.modulate({ brightness: 0.7 }),
  'small and mirrored': (picture) => picture.flop().resize(160, 106),
  'washed out': (picture) => picture.modulate({ saturation: 0.5, brightness: 1.1 }),
};

let fleet: Fleet;
beforeAll(async () => {
  fleet = await startFleet();
});
afterAll(() => fleet?.[Symbol.asyncDispose]());

async function decide(bytes: Uint8Array): Promise<Decision> {
  const { status, json, text } = await fleet.api.request('/v1/frames/cam-cat/front?wait_ms=10000', {
    method: 'POST',
    body: new Uint8Array(bytes),
    headers: { 'content-type': 'application/octet-stream' },
  });
  expect(status, text).toBe(200);
  return json.items[0] as Decision;
}

describe('the photograph of the cat', () => {
  it('comes out as cat, 猫', async () => {
    expect(await decide(photograph)).toMatchObject({ label: 'cat', label_text: '猫' });
  });

  it('does so on at least 7 of 10 crops, mirrors and changes of brightness that no recipe has seen', async () => {
    const wrong: string[] = [];
    for (const [name, change] of Object.entries(variants)) {
      const { label, score } = await decide(await change(sharp(photograph)).jpeg({ quality: 85 }).toBuffer());
      if (label !== 'cat') wrong.push(`${name}: ${label} ${score}`);
    }
    expect(wrong.length, wrong.join('; ')).toBeLessThanOrEqual(3);
  });

  it('does so on every golden picture of the model', async () => {
    const golden = join(repository, 'models/cifar-net/1/golden');
    const labels = [];
    for (const file of readdirSync(golden)) labels.push((await decide(readFileSync(join(golden, file)))).label);
    expect(new Set(labels)).toEqual(new Set(['cat']));
  });

  it('and none of the other pictures opens the flap', async () => {
    const folder = join(repository, 'packages/device/pictures');
    for (const file of readdirSync(folder).filter((name) => name.endsWith('.jpg') && name !== 'chelsea.jpg')) {
      const { label, score } = await decide(readFileSync(join(folder, file)));
      expect(label === 'cat' && (score ?? 0) >= 0.6, `${file}: ${label} ${score}`).toBe(false);
    }
  });
});
