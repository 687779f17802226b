import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { writePassport } from './harness/neighbours.ts';
import { jpeg, png } from './harness/pictures.ts';
import { expectLaws, SITE, startSite, tensor, until } from './harness/site.ts';

describe('a good frame', () => {
  it('that is a tensor comes out as a committed outcome with its evidence', async () => {
    await using site = await startSite();
    await site.ready();
    await site.frame('dev-1', 'raw', tensor(), 'k3v9-1042');
    await until(() => site.control.outcomes.length === 1);
    expect(site.control.outcomes[0]).toMatchObject({
      device: 'dev-1',
      stream: 'raw',
      boot: 'k3v9',
      seq: 1042,
      part: 0,
      pipeline: 'bits',
      outcome: 'decided',
      result: { label: 'cat', label_text: '猫', score: 0.9 },
      model: { name: 'cats', version: 1 },
      evidence: {
        frame: { sha256: createHash('sha256').update(tensor()).digest('hex'), bytes: 48 },
        model: { passport_sha256: site.cats.passportSha256, provider: 'cpu' },
        top: [{ label: 'cat', raw: 3.2 }],
        attempts: 0,
        gateway: 'gateway-1',
      },
    });
    const [received] = site.inference.decides;
    expect(received?.decide).toMatchObject({
      model: 'cats',
      version: 1,
      priority: 5,
      passportSha256: site.cats.passportSha256,
    });
    expect(received?.decide.units[0]).toMatchObject({
      id: 'dev-1.raw.k3v9.1042.0.bits',
      inputs: [{ name: 'image', dtype: 'uint8', shape: [4, 4, 3] }],
    });
    expect(received?.tensors[0]?.equals(tensor())).toBe(true);
    await until(() => site.service.counts.units('bits').decided === 1);
    expectLaws(site);
  });

  it('that is a picture is decoded to the size of the model, and the evidence says how', async () => {
    await using site = await startSite();
    await site.ready();
    const photograph = jpeg();
    await site.frame('cam-1', 'front', png(8, 8, [200, 40, 60]), 'k3v9-1');
    await until(() => site.control.outcomes.length === 1);
    await site.frame('cam-1', 'front', photograph, 'k3v9-2');
    await until(() => site.control.outcomes.length === 2);
    expect([...(site.inference.decides[0]?.tensors[0] ?? [])].slice(0, 6)).toEqual([200, 40, 60, 200, 40, 60]);
    const { frame, transform, ms } = site.control.outcomes[1]!.evidence;
    expect(frame).toMatchObject({ bytes: photograph.length, type: 'image/jpeg' });
    expect(transform?.scale[0]).toBeCloseTo(4 / (frame.width ?? 0), 4);
    expect(ms?.decode).toBeGreaterThan(0);
    expectLaws(site);
  });

  it('is decoded once for the two models that want it', async () => {
    const pipelines = { pets: { model: 'cats', priority: 8 }, article: { model: 'large' } };
    await using site = await startSite({
      configuration: { ...SITE, streams: { front: { devices: 'cam-*', format: 'image', pipelines } } },
    });
    const large = await writePassport(site.modelsDir, { name: 'large', width: 16, height: 8 });
    await site.inference.announce([site.cats, large]);
    await site.ready();
    await site.frame('cam-1', 'front', png(32, 32), 'k3v9-1');
    await until(() => site.control.outcomes.length === 2);
    const [first, second] = site.control.outcomes.map(({ evidence }) => evidence.ms?.decode);
    expect(first).toBe(second);
    const shapes = site.inference.units.map((unit) => unit.inputs[0]?.shape);
    expect(shapes).toContainEqual([4, 4, 3]);
    expect(shapes).toContainEqual([8, 16, 3]);
  });

  it('without a number gets one from the gateway, counted per device and stream', async () => {
    await using site = await startSite();
    await site.ready();
    for (const device of ['dev-1', 'dev-2', 'dev-1']) {
      const before = site.control.outcomes.length;
      await site.frame(device, 'raw', tensor());
      await until(() => site.control.outcomes.length === before + 1);
    }
    expect(site.control.outcomes.map(({ device, seq }) => `${device} ${seq}`)).toEqual([
      'dev-1 1',
      'dev-2 1',
      'dev-1 2',
    ]);
    expect(site.control.outcomes[0]?.boot).toMatch(/^g[0-9a-z]{8}$/);
  });

  it('that is sent again is a duplicate, and an older one too; both are counted, neither is computed', async () => {
    await using site = await startSite();
    await site.ready();
    await site.frame('dev-1', 'raw', tensor(), 'k3v9-5');
    await site.frame('dev-1', 'raw', tensor(), 'k3v9-5');
    await site.frame('dev-1', 'raw', tensor(), 'k3v9-4');
    await site.frame('dev-1', 'raw', tensor(), 'm1x2-4');
    await until(() => site.control.outcomes.length === 2);
    await until(() => site.service.counts.frames('dev-1', 'raw').received === 4);
    expect(site.service.counts.frames('dev-1', 'raw')).toMatchObject({ accepted: 2, duplicate: 2 });
    expect(site.inference.units).toHaveLength(2);
    expect(await site.metric(/brink_gateway_frames_total\{.*stream="raw",fate="duplicate"/)).toBe(2);
    expectLaws(site);
  });

  it('that came in over HTTP takes the same way, and the answer says how its units ended', async () => {
    await using site = await startSite();
    await site.ready();
    const posted = await site.control.post(
      { device: 'cam-7', stream: 'front', contentType: 'image/png', waitMs: 5000 },
      png(8, 8),
    );
    const { device, boot, seq } = site.control.outcomes[0]!;
    expect(posted).toMatchObject({
      boot,
      seq: 1n,
      units: [{ id: `${device}.front.${boot}.${seq}.0.pets`, fate: 'committed' }],
    });
    await expect(site.control.post({ device: 'cam-7', stream: 'front', waitMs: 0 }, Buffer.from('no'))).rejects.toThrow(
      /E_IMAGE_TYPE/,
    );
    await expect(site.control.post({ device: 'cam+', stream: 'front', waitMs: 0 }, png(8, 8))).rejects.toThrow(
      /E_NAME/,
    );
    await expect(site.control.post({ device: 'cam-7', stream: 'nothing', waitMs: 0 }, png(8, 8))).rejects.toThrow(
      /E_STREAM_UNKNOWN/,
    );
    site.inference.answer(() => new Promise(() => {}));
    const slow = await site.control.post(
      { device: 'cam-7', stream: 'front', boot: 'k3v9', seq: 3n, waitMs: 50 },
      png(8, 8),
    );
    expect(slow).toMatchObject({ boot: 'k3v9', seq: 3n, units: [{ fate: 'pending' }] });
  });
});

describe('frames that wait for one model', () => {
  it('go in one Decide, and the newest of a device takes the place of the one before', async () => {
    await using site = await startSite();
    await site.ready();
    const held = Promise.withResolvers<void>();
    site.inference.answer(async ({ decide }) => {
      await held.promise;
      const { decided } = await import('./harness/neighbours.ts');
      return decide.units.map(decided);
    });
    // Four times the best batch fills what inference gets at once; the rest waits.
    for (let i = 1; i <= 16; i++) await site.frame(`full-${i}`, 'raw', tensor(), 'k3v9-1');
    await until(() => site.inference.units.length === 16);
    const decides = site.inference.decides.length;
    for (let seq = 1; seq <= 3; seq++)
      for (const device of ['a', 'b', 'c', 'd']) await site.frame(device, 'raw', tensor(seq), `k3v9-${seq}`);
    await until(() => site.service.counts.frames('d', 'raw').received === 3);
    expect(site.inference.units).toHaveLength(16);
    held.resolve();
    await until(() => site.control.outcomes.length === 20);
    const late = site.inference.decides.slice(decides);
    expect(late.flatMap(({ decide }) => decide.units.map((unit) => unit.id))).toEqual(
      ['a', 'b', 'c', 'd'].map((device) => `${device}.raw.k3v9.3.0.bits`),
    );
    expect(Math.max(...late.map(({ decide }) => decide.units.length))).toBeGreaterThan(1);
    expect(site.service.counts.frames('a', 'raw')).toMatchObject({ received: 3, accepted: 1, dropped: 2 });
    expectLaws(site);
  });

  it('are at most one per device in every_ms', async () => {
    const raw = { format: 'tensor' as const, pipelines: { bits: { model: 'cats', every_ms: 60_000 } } };
    await using site = await startSite({ configuration: { ...SITE, streams: { raw } } });
    await site.ready();
    for (let seq = 1; seq <= 3; seq++) await site.frame('dev-1', 'raw', tensor(), `k3v9-${seq}`);
    await until(() => site.service.counts.frames('dev-1', 'raw').received === 3);
    await until(() => site.service.counts.units('bits').decided === 1);
    expect(site.service.counts.units('bits')).toMatchObject({ formed: 3, dropped: 2, pending: 0 });
    expect(await site.metric(/units_dropped_total\{.*reason="every_ms"/)).toBe(2);
    expectLaws(site);
  });
});

it('a thousand devices are reported too, though that does not fit the header of the link', async () => {
  await using site = await startSite();
  await site.ready();
  for (let i = 1; i <= 1000; i++) await site.client.publishAsync(`brink/dev-${i}/up/frames/raw`, tensor(), { qos: 0 });
  await until(() => site.control.reports.at(-1)?.streams.length === 1000, 'the report', 20_000);
  await until(() => site.control.reports.at(-1)?.pipelines[0]?.pending === 0, 'all decided', 20_000);
  expectLaws(site);
});
