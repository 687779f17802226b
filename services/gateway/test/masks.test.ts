import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Recording, RecordingSchema } from '@brink/protocol';
import type { Logger } from '@brink/runtime';
import { describe, expect, it } from 'vitest';
import { canaryIn, jpegWithCanary, pictureOf, withMetadata } from './harness/canary.ts';
import { writePassport } from './harness/neighbours.ts';
import { expectLaws, type Site, startSite, until } from './harness/site.ts';

// Pictures with a colour of their own where a mask lies, sent through everything that a gateway does with them. What comes out, at
// whatever end, must not hold it; without the mask each of these looks finds it.

type Configuration = NonNullable<NonNullable<Parameters<typeof startSite>[0]>['configuration']>;

const KEPT = /^brink_gateway_kept_frames[ {]/;
const BOX = [0.3, 0.25, 0.7, 0.75] as const;
const REGION = { regions: [[...BOX] as [number, number, number, number]] };
const FACES = { faces: { model: 'faces', score_min: 0.5, grow: 0.1 } };

const siteWith = (mask: object[], more: object = {}): Configuration =>
  ({
    version: 1,
    streams: {
      front: {
        devices: 'cam-*',
        format: 'image',
        frame_bytes_max: 400_000,
        frame_age_ms_max: 5000,
        mask,
        keep_s: 60,
        pipelines: { pets: { model: 'cats', priority: 8 } },
        ...more,
      },
    },
  }) as Configuration;

/** One face, where the canary is. */
const FOUND = { task: 'detection', label: 'face', score: 0.9, objects: [{ label: 'face', score: 0.9, box: [...BOX] }] };

async function withFaces(site: Site, says: object = FOUND): Promise<void> {
  const faces = await writePassport(site.modelsDir, { name: 'faces', task: 'detection', width: 64, height: 48 });
  site.inference.says(({ decide }: { decide: { model: string } }) =>
    decide.model === 'faces' ? says : { task: 'classification', label: 'cat', score: 0.9 },
  );
  await site.inference.announce([site.cats, faces]);
}

async function recorded(site: Site, id: string): Promise<{ manifest: Recording; files: Buffer[] }> {
  const folder = join(site.folder, 'recordings', id);
  const manifest = RecordingSchema.parse(JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')));
  const files = await Promise.all(manifest.frames.map(({ file }) => readFile(join(folder, file))));
  return { manifest, files };
}

/** From the start of its scan: its pixels, compressed. */
const scanOf = (jpeg: Buffer) => jpeg.subarray(jpeg.lastIndexOf(Buffer.from([0xff, 0xda])));

const ask = (site: Site, over: object = {}) =>
  site.control.record({
    ...{
      id: `cam-1.front.k3v9.1.0.pets~rule~0`,
      device: 'cam-1',
      stream: 'front',
      decision: 'cam-1.front.k3v9.1.0.pets',
    },
    ...{ atMs: BigInt(Date.now()), beforeMs: 60_000, afterMs: 0, ...over },
  });

/** Everything of the canary that left the gateway after one frame: tensors by model, kept pictures, and words. */
async function exitsOf(site: Site, bytes: Buffer) {
  await site.frame('cam-1', 'front', bytes, 'k3v9-1');
  await until(() => site.control.outcomes.length === 1, 'an outcome');
  await until(async () => (await site.metric(KEPT)) === 1, 'a kept frame');
  const { recording } = await ask(site);
  const { files } = await recorded(site, recording);
  const tensors = site.inference.decides.map(
    ({ decide, tensors: [first] }) => [decide.model, canaryIn(first!)] as const,
  );
  return {
    tensors: new Map(tensors),
    kept: await Promise.all(files.map(async (file) => canaryIn((await pictureOf(file)).pixels))),
    files,
  };
}

describe('a region that is masked', () => {
  it('is seen by no model, no ring and no recording', async () => {
    const bytes = await jpegWithCanary(160, 120, BOX);
    await using site = await startSite({ configuration: siteWith([REGION]) });
    await site.ready();
    const { tensors, kept, files } = await exitsOf(site, bytes);
    expect([...tensors.values(), ...kept].map((share) => share < 20)).toEqual([true, true]);
    expect(files.some((file) => file.includes(scanOf(bytes)))).toBe(false);
    expect(site.control.outcomes[0]?.evidence).toMatchObject({
      masked: { regions: 1, faces: 0 },
      ms: { mask: expect.any(Number) },
    });
    expectLaws(site);
  });

  it('would be found by the same looks without the mask', async () => {
    const bytes = await jpegWithCanary(160, 120, BOX);
    await using site = await startSite({ configuration: siteWith([]) });
    await site.ready();
    const { tensors, kept, files } = await exitsOf(site, bytes);
    expect([...tensors.values(), ...kept].map((share) => share > 100)).toEqual([true, true]);
    // Nothing was to be hidden, so it is the camera's picture bit by bit.
    expect(files.some((file) => file.includes(scanOf(bytes)))).toBe(true);
  });

  it('is in no word that leaves the gateway: outcomes, dead letters, reports, status, metrics, logs', async () => {
    const said: unknown[] = [];
    const say = (...words: unknown[]) => said.push(words);
    const logger = { trace: say, debug: say, info: say, warn: say, error: say, fatal: say, child: () => logger };
    const bytes = await jpegWithCanary(160, 120, BOX);
    await using site = await startSite({ configuration: siteWith([REGION]), logger: logger as unknown as Logger });
    await site.ready();
    const cut = bytes.subarray(0, bytes.length - 200);
    const frames = [bytes, cut, Buffer.concat([Buffer.from('no picture'), bytes])];
    for (const [i, frame] of frames.entries()) {
      await site.frame('cam-1', 'front', frame, `k3v9-${i + 1}`);
      await until(() => site.control.outcomes.length + site.control.letters.length === i + 1, 'what became of it');
    }
    expect(site.control.outcomes.map(({ outcome }) => outcome).toSorted()).toEqual(['dead', 'decided']);
    const { host, port } = site.service.addresses.ops;
    const pages = ['readyz', 'metrics'].map(async (page) => (await fetch(`http://${host}:${port}/${page}`)).text());
    const { outcomes, letters, reports } = site.control;
    const words = JSON.stringify([outcomes, letters, reports, said, await Promise.all(pages)]);
    const scan = scanOf(bytes);
    const piece = scan.subarray(scan.length / 2, scan.length / 2 + 24);
    for (const form of ['latin1', 'utf8', 'hex', 'base64'] as const) {
      expect(words.includes(JSON.stringify(piece.toString(form)).slice(1, -4))).toBe(false);
    }
    expect(words).not.toMatch(/"type":"Buffer"|"0":255,"1":216/);
    expect(said.length).toBeGreaterThan(0);
  });

  it('is forgotten in the ring where the mask comes later', async () => {
    const bytes = await jpegWithCanary(160, 120, BOX);
    await using site = await startSite({ configuration: siteWith([]) });
    await site.ready();
    await site.frame('cam-1', 'front', bytes, 'k3v9-1');
    await until(async () => (await site.metric(KEPT)) === 1, 'a kept frame');
    await site.configure(siteWith([REGION]), 'abcdef012345');
    await until(async () => (await site.metric(KEPT)) === 0, 'an empty ring');
    await expect(ask(site)).rejects.toThrow(/E_NOT_FOUND/);
  });
});

describe('a face', () => {
  it('is found by a detector, grown, and seen by no model behind it, no ring and no recording', async () => {
    const bytes = await jpegWithCanary(160, 120, BOX);
    await using site = await startSite({ configuration: siteWith([FACES]) });
    await withFaces(site);
    await site.ready();
    const { tensors, kept, files } = await exitsOf(site, bytes);
    expect(tensors.get('faces')).toBeGreaterThan(100);
    expect(tensors.get('cats')).toBeLessThan(20);
    expect(kept.map((share) => share < 20)).toEqual([true]);
    expect(site.inference.decides[0]?.decide).toMatchObject({ model: 'faces', priority: 9 });
    const { evidence } = site.control.outcomes[0]!;
    expect(evidence.masked).toEqual({ regions: 0, faces: 1 });
    expect(evidence.frame.kept_sha256).toBe(createHash('sha256').update(files[0]!).digest('hex'));
  });

  it('is looked for in a picture whose regions are masked already', async () => {
    const bytes = await jpegWithCanary(160, 120, BOX);
    await using site = await startSite({ configuration: siteWith([REGION, FACES]) });
    await withFaces(site, { task: 'detection', label: 'none', score: 0, objects: [] });
    await site.ready();
    const { tensors } = await exitsOf(site, bytes);
    expect([...tensors.values()].map((share) => share < 20)).toEqual([true, true]);
  });

  /** One frame, and how its unit ended; nothing of it may be anywhere. */
  async function endOf(site: Site): Promise<string> {
    await site.frame('cam-1', 'front', await jpegWithCanary(160, 120, BOX), 'k3v9-1');
    await until(() => site.control.outcomes.length === 1, 'an outcome', 8000);
    expect(site.inference.decides.filter(({ decide }) => decide.model !== 'faces')).toEqual([]);
    expect(await site.metric(KEPT)).toBe(0);
    await expect(ask(site)).rejects.toThrow(/E_NOT_FOUND/);
    expect(await readdir(join(site.folder, 'recordings')).catch(() => [])).toEqual([]);
    expect(await site.metric(/^brink_gateway_mask_failures_total/)).toBeGreaterThanOrEqual(1);
    expectLaws(site);
    const [{ outcome, error } = { outcome: '', error: undefined }] = site.control.outcomes;
    return `${outcome} ${error?.code}`;
  }

  it('that cannot be looked for, because the detector fails, lets nothing out', async () => {
    await using site = await startSite({ configuration: siteWith([FACES]) });
    await withFaces(site);
    await site.ready();
    site.inference.answer(({ decide }) => decide.units.map(() => ({ failure: { code: 'E_MODEL_RUN', detail: 'no' } })));
    expect(await endOf(site)).toBe('dead E_MASK');
  });

  it('that nobody looks for, because there is no detector, lets nothing out', async () => {
    await using site = await startSite({ configuration: siteWith([FACES]) });
    await site.hears('inference does not serve "faces"');
    expect(await endOf(site)).toBe('dead E_MASK');
  });

  it('that is looked for too long lets nothing out', async () => {
    await using site = await startSite({ configuration: siteWith([FACES], { frame_age_ms_max: 200 }) });
    await withFaces(site);
    await site.ready();
    site.inference.answer(() => new Promise(() => {}));
    expect(await endOf(site)).toBe('expired E_EXPIRED');
  });

  it('that is looked for when the detector dies lets nothing out until it is back', async () => {
    await using site = await startSite({ configuration: siteWith([FACES]) });
    await withFaces(site);
    await site.ready();
    let crashes = 1;
    site.inference.answer(({ decide }) =>
      decide.units.map((unit) => {
        if (decide.model !== 'faces' || crashes === 0) return DECIDED;
        crashes -= 1;
        site.inference.hangUp();
        return { failure: { code: 'E_MODEL_CRASH', detail: 'it ended' }, attempt: unit.attempts === 0 };
      }),
    );
    const { tensors, kept } = await exitsOf(site, await jpegWithCanary(160, 120, BOX));
    expect(tensors.get('cats')).toBeLessThan(20);
    expect(kept.map((share) => share < 20)).toEqual([true]);
    expect(site.inference.decides.filter(({ decide }) => decide.model === 'faces').length).toBeGreaterThan(1);
  });

  it('is one of as many as the detector may tell: there may be more, and nothing gets out', async () => {
    await using site = await startSite({ configuration: siteWith([FACES]) });
    const objects = Array.from({ length: 100 }, () => ({ label: 'face', score: 0.9, box: [0, 0, 0.05, 0.05] }));
    await withFaces(site, { ...FOUND, objects });
    await site.ready();
    expect(await endOf(site)).toBe('dead E_MASK');
  });

  it('is not masked by a model that is no detector, that leaves out what the mask wants, or sees the middle only: nothing gets out, and /readyz says so', async () => {
    for (const [task, mask, fit, why] of [
      ['classification', FACES, 'stretch', 'its task is classification'],
      [
        'detection',
        { faces: { model: 'faces', score_min: 0.1 } },
        'stretch',
        'score_min: 0.1, and the model leaves out',
      ],
      ['detection', FACES, 'crop', 'fit: crop'],
    ] as const) {
      await using site = await startSite({ configuration: siteWith([mask]) });
      const faces = await writePassport(site.modelsDir, { name: 'faces', task, width: 64, height: 48, fit });
      await site.inference.announce([site.cats, faces]);
      await site.hears(why);
      expect((await site.problems())[0]).toMatch(/^stream front, mask: faces@1 cannot mask: .*; expected /);
      expect(await endOf(site)).toBe('dead E_MASK');
    }
  });

  it('that is slow to find holds up its own camera, which keeps the newest frame, and no other', async () => {
    const configuration = siteWith([FACES]);
    const open = { devices: '*', format: 'image', pipelines: { others: { model: 'cats' } } } as const;
    await using site = await startSite({
      configuration: { ...configuration, streams: { ...configuration.streams, open } } as Configuration,
    });
    await withFaces(site);
    await site.ready();
    const late = Promise.withResolvers<void>();
    site.inference.answer(async ({ decide }) => {
      if (decide.model === 'faces') await late.promise;
      return decide.units.map(() => DECIDED);
    });
    const bytes = await jpegWithCanary(64, 48, BOX);
    for (let seq = 1; seq <= 8; seq++) await site.frame('cam-1', 'front', bytes, `k3v9-${seq}`);
    for (let seq = 1; seq <= 5; seq++) {
      await site.frame('cam-2', 'open', bytes, `k3v9-${seq}`);
      await until(() => site.control.outcomes.length === seq, 'an outcome of the other camera');
    }
    expect(site.control.outcomes.map(({ stream }) => stream)).toEqual(Array(5).fill('open'));
    late.resolve();
    await until(
      () => site.control.outcomes.filter(({ stream }) => stream === 'front').length === 2,
      'both of the first',
    );
    const front = site.control.outcomes.filter(({ stream }) => stream === 'front').map(({ seq }) => seq);
    expect(front).toEqual([1, 8]);
    expectLaws(site);
  });
});

const DECIDED = { payloads: 1, batch: 1, provider: 'cpu' };

describe('what a file says beside its picture', () => {
  it('is neither kept nor recorded, and a JPEG that needs nothing else stays as it is', async () => {
    const secret = 'Anna Muster, 48.1351 N 11.5820 E';
    const written = await jpegWithCanary(160, 120, BOX);
    const bytes = Buffer.concat([withMetadata(written, { text: secret, orientation: 1 }), Buffer.from(secret)]);
    expect(bytes.indexOf(secret)).toBeLessThan(bytes.length - secret.length);
    await using site = await startSite({ configuration: siteWith([]) });
    await site.ready();
    const { files } = await exitsOf(site, bytes);
    expect(files.map((file) => file.includes(secret) || file.includes('Exif'))).toEqual([false]);
    expect(await pictureOf(files[0]!)).toEqual(await pictureOf(written));
    const said = JSON.stringify([site.control.outcomes, site.control.letters, site.control.reports]);
    expect(said.includes('Anna')).toBe(false);
  });

  it('turns the picture before it goes', async () => {
    const turned = withMetadata(await jpegWithCanary(160, 120, [0, 0, 0.2, 0.2]), { text: 'Anna', orientation: 6 });
    await using site = await startSite({ configuration: siteWith([]) });
    await site.ready();
    const { files } = await exitsOf(site, turned);
    const { width, height } = await pictureOf(files[0]!);
    expect({ width, height }).toEqual({ width: 120, height: 160 });
    expect(files[0]!.includes('Exif') || files[0]!.includes('Anna')).toBe(false);
  });
});

describe('fields of messages', () => {
  const configuration = (secret?: string): Configuration =>
    ({
      version: 1,
      streams: {
        pump: {
          format: 'signal',
          signal: { encoding: 'json', fields: ['ax'], rate_hz: 100 },
          keep_s: 60,
          mask: [
            { fields: { drop: ['user.name'], ...(secret === undefined ? {} : { pseudonymise: ['user.id'], secret }) } },
          ],
          pipelines: { bearing: { model: 'bearing' } },
        },
      },
    }) as Configuration;
  const message = JSON.stringify({ ax: [1, 2, 3, 4], user: { name: 'Anna Muster', id: 4711, floor: 3 } });

  async function kept(secret?: string) {
    await using site = await startSite({ control: false, inference: false });
    await mkdir(join(site.folder, 'secrets'), { recursive: true });
    await writeFile(join(site.folder, 'secrets', 'people'), 'a key of more than sixteen bytes\n');
    await site.startNeighbours({ inference: true, control: true });
    await writePassport(site.modelsDir, {
      name: 'bearing',
      inputs: [{ tensor: 'x', signal: { rate_hz: 100, window: 4, hop: 4, channels: ['ax'] } }],
    }).then((bearing) => site.inference.announce([site.cats, bearing]));
    await site.configure(configuration(secret), 'abcdef012345');
    await site.ready();
    // Until the configuration is in force there is no such stream.
    let seq = 0;
    await until(async () => {
      await site.publish(`brink/cam-1/up/frames/pump/k3v9-${++seq}`, message);
      return site.control.outcomes.length > 0;
    }, 'an outcome');
    const { recording } = await ask(site, { stream: 'pump' });
    return JSON.parse(String((await recorded(site, recording)).files[0]));
  }

  it('are dropped and replaced by a keyed hash before anything is kept', async () => {
    expect(await kept('people')).toEqual({
      ax: [1, 2, 3, 4],
      // printf 4711 | openssl dgst -sha256 -hmac 'a key of more than sixteen bytes'
      user: { id: expect.stringMatching(/^[0-9a-f]{64}$/), floor: 3 },
    });
  });

  it('whose secret is not there keep the configuration before in force', async () => {
    await using site = await startSite();
    await site.ready();
    await site.configure(configuration('nobody'), 'abcdef012345');
    await until(async () => (await site.problems()).some((one) => one.includes('the secret "nobody" is not there')));
  });
});
