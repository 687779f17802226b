import { describe, expect, it } from 'vitest';
import { writePassport } from './harness/neighbours.ts';
import { expectLaws, SITE, type Site, startSite, until } from './harness/site.ts';

// What changes while windows wait or are under way: the configuration, the model's version, and gaps whose first window is dropped.

const raw = (...values: number[]) => Buffer.from(new Float32Array(values).buffer);
const floats = (bytes: Uint8Array) => new Float32Array(new Uint8Array(bytes).buffer);
const DURABLE = { delivery: 'durable' as const };

const streamsOf = (stream: object, pipeline: object = {}) => ({
  imu: {
    ...{ format: 'signal' as const, frame_age_ms_max: 10_000, ...stream },
    signal: { encoding: 'f32le' as const, fields: ['x'] },
    pipelines: { sum: { model: 'sum', ...pipeline } },
  },
});

/** A model that says the sum of its window and how many units it remembers. */
function model(site: Site, { version = 1, window = 4, hop = 2, state = true } = {}) {
  const kept = state ? { state: [{ in: 's', out: 't', shape: [1] }] } : {};
  const output = { decoder: 'regression', tensors: { y: 'y' }, names: ['y'] };
  const inputs = [{ tensor: 'x', signal: { rate_hz: 100, channels: ['x'], window, hop } }];
  return writePassport(site.modelsDir, { name: 'sum', version, task: 'regression', output, inputs, ...kept });
}

/** `seq.part: sum, remembered` */
const said = ({ control }: Site) =>
  control.outcomes.map(({ seq, part, result, error }) => {
    const { y, before } = result?.values ?? {};
    return `${seq}.${part}: ${error?.code ?? `${y}, ${before}`}`;
  });

async function remembering(stream: object, o: { state?: boolean } = {}) {
  const site = await startSite({ configuration: { ...SITE, streams: streamsOf(stream) } });
  await site.inference.announce([site.cats, await model(site, o)]);
  site.inference.computes(([window = Buffer.alloc(0), state]) => {
    const before = state?.readFloatLE(0) ?? 0;
    const values = { y: floats(window).reduce((all, value) => all + value, 0), before };
    const result = Buffer.from(JSON.stringify({ task: 'regression', values }));
    return state === undefined ? [result] : [result, raw(before + 1)];
  });
  await until(() => site.service.serves('sum'));
  return Object.assign(site, {
    send: (seq: number, ...values: number[]) => site.frame('dev-1', 'imu', raw(...values), `k3v9-${seq}`),
    hold(): () => void {
      const held = Promise.withResolvers<void>();
      site.inference.hold(held.promise);
      return held.resolve;
    },
    /** Until it is in force: it asks for a model that nobody has. */
    async change(streams: object): Promise<void> {
      const ghost = { format: 'tensor' as const, pipelines: { ghost: { model: 'ghost' } } };
      await site.configure({ ...SITE, streams: { ...streams, ghost } }, 'ffffffffffff');
      await until(async () => (await site.problems()).some((problem) => problem.includes('ghost')));
    },
    counts: () => site.service.counts.units('sum'),
    async heard(count: number): Promise<string[]> {
      await until(
        () => site.control.outcomes.length >= count,
        () => said(site).join('; '),
      );
      return said(site);
    },
  });
}

describe('a configuration that changes while a unit is under way', () => {
  it.each([
    ['latest', {}, 0],
    ['durable', DURABLE, 1],
  ])('lets the next begin where that one ends, and rows go (%s)', async (_name, stream, rows) => {
    await using site = await remembering(stream);
    await site.send(1, 1, 1, 1, 1);
    await site.heard(1);
    const release = site.hold();
    await site.send(2, 1, 1);
    await until(() => site.inference.units.length === 2);
    await site.change(streamsOf(stream, { priority: 9 }));
    await site.send(3, 1, 1);
    await until(() => site.counts().formed === 3);
    expect(site.inference.units).toHaveLength(2);
    release();
    expect(await site.heard(3)).toEqual(['1.0: 4, 0', '2.0: 4, 1', '3.0: 4, 2']);
    await site.send(4, 2, 2);
    expect((await site.heard(4)).at(-1)).toBe('4.0: 6, 3');
    await until(async () => (await site.metric(/spool_rows\{.*imu/)) === rows);
    expectLaws(site);
  });
});

describe('a version that takes another window', () => {
  const OTHER = { version: 2, window: 6, hop: 3, state: false };

  it('gets the frames of a durable stream that wait cut anew', async () => {
    await using site = await remembering(DURABLE, { state: false });
    await site.send(1, 1, 1, 1, 1);
    await site.heard(1);
    await site.inference.announce([site.cats]);
    await until(() => !site.service.serves('sum'));
    for (let seq = 2; seq <= 5; seq++) await site.send(seq, seq, seq, seq, seq);
    await until(() => site.counts().formed === 9);
    await site.inference.announce([site.cats, await model(site, OTHER)]);
    // From 0 on, where nothing of before was decided.
    const sums = ['2.0: 8, 0', '3.0: 12, 0', '3.1: 16, 0', '4.0: 21, 0', '5.0: 26, 0'];
    expect((await site.heard(6)).slice(1)).toEqual(sums);
    await until(() => site.counts().pending === 0);
    expect(site.counts()).toMatchObject({ decided: 6, dropped: 8, dead: 0 });
    await site.send(6, 6, 6, 6, 6);
    expect((await site.heard(8)).slice(6)).toEqual(['6.0: 30, 0', '6.1: 34, 0']);
    expectLaws(site);
  });

  it('gets them too where a unit comes back that was under way, and the next waits for it', async () => {
    await using site = await remembering(DURABLE);
    await site.send(1, 1, 1, 1, 1);
    await site.heard(1);
    const release = site.hold();
    for (const seq of [2, 3]) await site.send(seq, 1, 1);
    await until(() => site.inference.units.length === 2 && site.counts().formed === 3);
    await site.inference.announce([site.cats, await model(site, { ...OTHER, state: true })]);
    site.inference.hangUp();
    release();
    expect((await site.heard(2)).at(-1)).toBe('2.0: 6, 0');
    await site.send(4, 2, 2);
    expect((await site.heard(3)).at(-1)).toBe('4.0: 7, 1');
    await until(() => site.counts().pending === 0);
    expect(site.counts()).toMatchObject({ formed: 5, decided: 3, dropped: 2, dead: 0 });
    expectLaws(site);
  });

  it('of a latest stream drops what waits, counted', async () => {
    await using site = await remembering({}, { state: false });
    await site.inference.announce([site.cats]);
    await until(() => !site.service.serves('sum'));
    await site.send(1, 1, 1, 1, 1);
    await until(() => site.counts().formed === 1);
    await site.inference.announce([site.cats, await model(site, OTHER)]);
    await until(() => site.counts().pending === 0);
    expect(site.counts()).toMatchObject({ formed: 1, dropped: 1, dead: 0 });
    for (const seq of [2, 3]) await site.send(seq, 2, 2, 2, 2);
    expect(await site.heard(1)).toEqual(['3.0: 12, 0']);
    expectLaws(site);
  });
});

describe('a gap', () => {
  it('is one for the model too where its first window is dropped', async () => {
    await using site = await remembering({});
    await site.send(1, 1, 1, 1, 1);
    await site.heard(1);
    const release = site.hold();
    await site.send(2, 1, 1);
    await until(() => site.inference.units.length === 2);
    await site.send(10, 5, 5, 5, 5);
    await until(() => site.counts().formed === 3);
    await site.send(11, 6, 6);
    await until(() => site.counts().formed === 4);
    release();
    expect(await site.heard(3)).toEqual(['1.0: 4, 0', '2.0: 4, 1', '11.0: 22, 0']);
    await until(() => site.counts().pending === 0);
    expect(site.counts()).toMatchObject({ formed: 4, decided: 3, dropped: 1 });
    expectLaws(site);
  });
});
