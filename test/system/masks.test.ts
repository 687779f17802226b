import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encode, graph, model, node, value } from '@brink/onnx';
import type { ActionRecord, Decision, Recording, RecordingSummary } from '@brink/protocol';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { List } from '../harness/api.ts';
import { type Fleet, startFleet } from '../harness/fleet.ts';
import { installOther, noOthers, readShared } from '../harness/others.ts';

// A picture with a colour of its own under the mask goes through the whole fleet: a graph that gives back what it was shown, rules, a
// recording, HTTP. And faces: the very detector that masks them must find none behind the mask.

const SIDE = 16;
const BOX = [0.25, 0.25, 0.75, 0.75] as const;

/** A model that answers with its input. */
function installEcho(models: string): void {
  const shape = ['N', 3, SIDE, SIDE];
  const parts = { inputs: [value('x', 'float32', shape)], outputs: [value('y', 'float32', shape)] };
  const bytes = encode(model(graph({ ...parts, nodes: [node('Identity', ['x'], ['y'])] })));
  const folder = join(models, 'echo', '1');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'model.onnx'), bytes);
  const passport = {
    ...{ passport: 1, name: 'echo', version: 1, task: 'raw', batch_max: 4 },
    files: [{ path: 'model.onnx', sha256: createHash('sha256').update(bytes).digest('hex') }],
    inputs: [{ tensor: 'x', image: { width: SIDE, height: SIDE, fit: 'stretch', layout: 'nchw', scale: 1 } }],
    output: { decoder: 'raw', tensors: { seen: 'y' }, elements_max: 1024 },
  };
  writeFileSync(join(folder, 'model.json'), JSON.stringify(passport));
}

const stream = (name: string, mask: object[], pipelines: object) => ({
  [name]: {
    devices: 'cam-*',
    format: 'image',
    frame_age_ms_max: 20_000,
    frame_bytes_max: 4_194_304,
    keep_s: 60,
    mask,
    pipelines,
  },
});
const rule = (on: string) => ({
  [`keep-${on}`]: {
    on,
    when: 'decision.outcome == "decided"',
    // biome-ignore lint/suspicious/noThenProperty: the word of the configuration
    then: [{ record: { before_ms: 5000, after_ms: 100 } }],
  },
});
const FACES = { faces: { model: 'ultraface', score_min: 0.7, grow: 0.2 } };
const withFaces = noOthers === undefined;
const site = {
  version: 1,
  streams: {
    ...stream('masked', [{ regions: [[...BOX]] }], { echo: { model: 'echo' } }),
    ...stream('open', [], { 'echo-open': { model: 'echo' } }),
    ...(withFaces
      ? {
          ...stream('door', [FACES], { again: { model: 'ultraface' } }),
          ...stream('street', [], { 'again-open': { model: 'ultraface' } }),
        }
      : {}),
  },
  rules: { ...rule('echo'), ...rule('echo-open'), ...(withFaces ? rule('again') : {}) },
};

/** Most of the canary's magenta in any pixel of planes of red, green and blue, or of pixels. */
function canaryIn(data: ArrayLike<number>, planes: boolean): number {
  const count = data.length / 3;
  let most = 0;
  for (let i = 0; i < count; i++) {
    const [r, g, b] = planes ? [i, i + count, i + 2 * count] : [3 * i, 3 * i + 1, 3 * i + 2];
    most = Math.max(most, Math.min(data[r] as number, data[b] as number) - (data[g] as number));
  }
  return most;
}

describe('what is masked', () => {
  let fleet: Fleet;
  let models: string;
  beforeAll(async () => {
    models = mkdtempSync(join(tmpdir(), 'brink-models-'));
    installEcho(models);
    if (withFaces) installOther(models, 'ultraface', (passport) => ({ ...passport, name: 'ultraface' }));
    fleet = await startFleet({ configuration: site, models });
  });
  afterAll(async () => {
    await fleet?.[Symbol.asyncDispose]();
    rmSync(models, { recursive: true, force: true });
  });

  async function canary(): Promise<Buffer> {
    const [width, height] = [320, 240];
    const box = { width: width / 2, height: height / 2, channels: 3, background: { r: 255, g: 0, b: 255 } } as const;
    const ground = { width, height, channels: 3, background: { r: 20, g: 130, b: 60 } } as const;
    const left = width * BOX[0];
    const inside = await sharp({ create: box }).png().toBuffer();
    return sharp({ create: ground })
      .composite([{ input: inside, left, top: height * BOX[1] }])
      .withExif({ IFD0: { Artist: 'Anna Muster' } })
      .jpeg({ quality: 90 })
      .toBuffer();
  }

  async function decided(device: string, name: string, frame: Buffer): Promise<Decision> {
    const client = await fleet.client();
    await client.publishAsync(`brink/${device}/up/frames/${name}`, frame);
    const { items } = await fleet.api.until<List<Decision>>(
      `/v1/decisions?device=${device}`,
      ({ items: [one] }) => one !== undefined,
    );
    return items[0] as Decision;
  }

  /** The recording of a device, when it is complete, and its first picture. */
  async function recordingOf(device: string) {
    const path = `/v1/recordings?device=${device}`;
    const { items } = await fleet.api.until<List<RecordingSummary>>(
      path,
      ({ items: [one] }) => one?.state === 'complete',
    );
    const manifest = await fleet.api.get<Recording>(`/v1/recordings/${items[0]?.id}`);
    const answer = await fetch(`${fleet.api.base}/v1/recordings/${manifest.id}/frames/0`);
    const bytes = Buffer.from(await answer.arrayBuffer());
    return { manifest, bytes, type: answer.headers.get('content-type'), pixels: await sharp(bytes).raw().toBuffer() };
  }

  it('is seen by no model and is in no recording; without the mask both have it', async () => {
    const seen: Record<string, number[]> = {};
    for (const name of ['masked', 'open']) {
      const frame = await canary();
      const { tensors } = await decided(`cam-${name}`, name, frame);
      const { manifest, bytes, type, pixels } = await recordingOf(`cam-${name}`);
      seen[name] = [canaryIn(tensors?.['seen']?.data ?? [], true), canaryIn(pixels, false)];
      expect(manifest).toMatchObject({
        device: `cam-${name}`,
        stream: name,
        masked: name === 'masked',
        frames: [{ type: 'image/jpeg' }],
      });
      expect(createHash('sha256').update(bytes).digest('hex')).toBe(manifest.frames[0]?.sha256);
      expect([type, bytes.includes('Anna')]).toEqual(['image/jpeg', false]);
    }
    expect(seen['masked']?.map((share) => share < 20)).toEqual([true, true]);
    expect(seen['open']?.map((share) => share > 150)).toEqual([true, true]);
    const { items } = await fleet.api.get<List<ActionRecord>>('/v1/actions?target=cam-masked/masked');
    expect(items[0]).toMatchObject({ kind: 'record', state: 'sent', target: 'cam-masked/masked' });
  });

  it('is told, in numbers, by what explains a decision', async () => {
    const { items } = await fleet.api.get<List<Decision>>('/v1/decisions?device=cam-masked');
    const path = `/v1/decisions/${encodeURIComponent(items[0]?.id ?? '')}/explain`;
    expect(await fleet.api.get(path)).toMatchObject({
      evidence: { masked: { regions: 1, faces: 0 }, ms: { mask: expect.any(Number) } },
    });
  });

  it('is not there under an address that nobody gave out', async () => {
    const [{ id } = { id: '' }] = (await fleet.api.get<List<RecordingSummary>>('/v1/recordings')).items;
    for (const [path, status] of [
      [`/v1/recordings/${id}/frames/999`, 404],
      [`/v1/recordings/${id}/frames/..%2fmanifest.json`, 400],
      ['/v1/recordings/000000000000000000000000', 404],
      ['/v1/recordings/..%2f..%2fetc', 400],
    ] as const) {
      expect((await fleet.api.request(path)).status, path).toBe(status);
    }
  });

  it.skipIf(!withFaces)(
    `are faces that the detector finds: behind the mask it finds none${withFaces ? '' : ` (skipped: ${noOthers})`}`,
    async () => {
      const frame = await sharp(readShared('data/pictures/astronaut.png')).jpeg({ quality: 95 }).toBuffer();
      expect(await decided('cam-street', 'street', frame)).toMatchObject({
        label: 'face',
        objects: [{ label: 'face' }],
      });
      expect(await decided('cam-door', 'door', frame)).toMatchObject({ label: 'none', objects: [] });
      const { bytes } = await recordingOf('cam-door');
      const { data, info } = await sharp(bytes).raw().toBuffer({ resolveWithObject: true });
      // The middle of her face, of 512 × 512.
      const at = (Math.round(0.23 * info.height) * info.width + Math.round(0.437 * info.width)) * 3;
      expect([...data.subarray(at, at + 3)].every((part) => part < 8)).toBe(true);
    },
  );
});
