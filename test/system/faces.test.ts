import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Decision } from '@brink/protocol';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { List } from '../harness/api.ts';
import { type Fleet, startFleet } from '../harness/fleet.ts';
import { installOther, noOthers, readShared } from '../harness/others.ts';

// A detector that nobody here has trained: a folder and a stream in the configuration, and the loop runs on faces. Its boxes must
// lie on the frame that the camera sent, however the picture was brought to what the model takes.

/** Where the face of the astronaut is, of a picture of 512 × 512. */
const FACE = [0.351, 0.12, 0.523, 0.339] as const;
type Box = readonly [number, number, number, number];

function overlap(a: readonly number[], b: readonly number[]): number {
  const side = (from: 0 | 1, to: 2 | 3) =>
    Math.max(0, Math.min(a[to] as number, b[to] as number) - Math.max(a[from] as number, b[from] as number));
  const area = (box: readonly number[]) =>
    ((box[2] as number) - (box[0] as number)) * ((box[3] as number) - (box[1] as number));
  const both = side(0, 2) * side(1, 3);
  return both / (area(a) + area(b) - both);
}

const FITS = { stretch: {}, letterbox: { fit: 'letterbox', pad: 127 } } as const;

const site = {
  version: 1,
  streams: {
    door: {
      devices: 'cam-*',
      format: 'image',
      frame_age_ms_max: 20_000,
      frame_bytes_max: 4_194_304,
      pipelines: Object.fromEntries(
        Object.keys(FITS).map((fit) => [`faces-${fit}`, { model: `ultraface-${fit}`, deadline_ms: 20_000 }]),
      ),
    },
  },
  rules: {
    visitor: {
      on: 'faces-stretch',
      when: 'decision.objects.exists(o, o.label == "face" && o.score >= 0.9)',
      // biome-ignore lint/suspicious/noThenProperty: the word of the configuration
      then: [{ command: { device: 'bell-1', name: 'ring', args: { faces: '${size(decision.objects)}' } } }],
    },
  },
};

const title = noOthers === undefined ? 'faces' : `faces (skipped: ${noOthers})`;

describe.skipIf(noOthers !== undefined)(title, () => {
  let fleet: Fleet;
  let models: string;
  beforeAll(async () => {
    models = mkdtempSync(join(tmpdir(), 'brink-models-'));
    for (const [fit, image] of Object.entries(FITS)) {
      installOther(models, 'ultraface', (passport) => {
        const [input] = passport['inputs'] as { image: object }[];
        return {
          ...passport,
          name: `ultraface-${fit}`,
          inputs: [{ ...input, image: { ...input?.image, ...image } }],
        };
      });
    }
    fleet = await startFleet({ configuration: site, models });
  });
  afterAll(async () => {
    await fleet?.[Symbol.asyncDispose]();
    rmSync(models, { recursive: true, force: true });
  });

  /** One frame over MQTT, and what became of it in every pipeline. */
  async function decisionsOf(device: string, frame: Buffer): Promise<readonly Decision[]> {
    const client = await fleet.client();
    await client.publishAsync(`brink/${device}/up/frames/door`, frame);
    const pipelines = Object.keys(FITS).length;
    const { items } = await fleet.api.until<List<Decision>>(
      `/v1/decisions?device=${device}`,
      (list) => list.items.length === pipelines,
    );
    return items;
  }

  const astronaut = () => sharp(readShared('data/pictures/astronaut.png'));

  // What the camera sends, and where the face is in it.
  const frames: Record<string, { frame: () => Promise<Buffer>; face: Box }> = {
    square: { frame: () => astronaut().png().toBuffer(), face: FACE },
    // On the right of a picture twice as wide: letterboxed it has bars above and below.
    wide: {
      frame: () => astronaut().extend({ left: 512, background: 'grey' }).jpeg({ quality: 95 }).toBuffer(),
      face: [0.5 + FACE[0] / 2, FACE[1], 0.5 + FACE[2] / 2, FACE[3]],
    },
    // At the bottom of a picture half as high again: bars on the sides.
    high: {
      frame: () => astronaut().extend({ top: 256, background: 'grey' }).jpeg({ quality: 95 }).toBuffer(),
      face: [FACE[0], (FACE[1] + 0.5) / 1.5, FACE[2], (FACE[3] + 0.5) / 1.5],
    },
    // Held on its side, as a telephone does; the frame says which way is up.
    turned: {
      frame: () => astronaut().rotate(270).jpeg({ quality: 95 }).withMetadata({ orientation: 6 }).toBuffer(),
      face: FACE,
    },
  };

  it.each(Object.entries(frames))('are found where they are in a %s frame', async (name, { frame, face }) => {
    const decisions = await decisionsOf(`cam-${name}`, await frame());
    expect(decisions.map(({ pipeline }) => pipeline).toSorted()).toEqual(['faces-letterbox', 'faces-stretch']);
    for (const decision of decisions) {
      const said = `${decision.pipeline}: ${JSON.stringify(decision.objects ?? decision.error)}`;
      expect(decision, said).toMatchObject({ outcome: 'decided', task: 'detection', label: 'face' });
      expect(decision.objects, said).toHaveLength(1);
      expect(overlap(decision.objects?.[0]?.box ?? [0, 0, 0, 0], face), said).toBeGreaterThan(0.75);
    }
  });

  it('all of a crowd of 44 come through', async () => {
    const decisions = await decisionsOf('cam-crowd', readShared('models/ultraface/imgs/1.jpg'));
    const stretched = decisions.find(({ pipeline }) => pipeline === 'faces-stretch');
    expect(stretched?.objects, JSON.stringify(stretched?.error)).toHaveLength(44);
  });

  it('a picture without any says "none", with score 0', async () => {
    const [decision] = await decisionsOf('cam-coffee', readShared('data/pictures/coffee.png'));
    expect(decision).toMatchObject({ outcome: 'decided', label: 'none', score: 0, objects: [] });
  });

  it('ring a bell by a rule on objects', async () => {
    const { items } = await fleet.api.until<List<{ because?: string; device?: string }>>(
      '/v1/actions',
      (list) => list.items.length > 0,
    );
    expect(JSON.stringify(items)).toContain('bell-1');
  });

  it('an explanation tells how the picture was brought to the model', async () => {
    const { items } = await fleet.api.get<List<Decision>>('/v1/decisions?device=cam-wide&pipeline=faces-letterbox');
    const explained = await fleet.api.get<{ evidence?: { transform?: unknown } }>(
      `/v1/decisions/${encodeURIComponent(items[0]?.id ?? '')}/explain`,
    );
    expect(JSON.stringify(explained)).toContain('"fit":"letterbox"');
  });
});
