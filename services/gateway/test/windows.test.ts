import { describe, expect, it } from 'vitest';
import type { GatewayConfig } from '../src/config.ts';
import { writePassport } from './harness/neighbours.ts';
import { expectLaws, SITE, type Site, startSite, until } from './harness/site.ts';

type Streams = NonNullable<(typeof SITE)['streams']>;
type Stream = Streams[string];
type Announced = Awaited<ReturnType<typeof writePassport>>;

const MODEL = { task: 'regression', output: { decoder: 'regression', tensors: { y: 'y' }, names: ['y'] } };
const signal = (over: object = {}) => ({
  tensor: 'x',
  signal: { rate_hz: 100, channels: ['ax', 'ay'], window: 4, hop: 2, ...over },
});

/** A site whose model answers with the sum of what it gets, and counts its units where it has a state. */
async function sensing(
  stream: Partial<Stream>,
  o: { inputs?: object[]; state?: boolean; pipeline?: object; config?: Partial<GatewayConfig> } = {},
): Promise<Site & { sum: Announced }> {
  const base = { format: 'signal' as const, frame_age_ms_max: 10_000, signal: { fields: ['ax', 'ay'] } };
  const pipelines = { sum: { model: 'sum', ...o.pipeline } };
  const configuration = { ...SITE, streams: { imu: { ...base, ...stream, pipelines } } };
  const site = await startSite({ configuration, ...(o.config === undefined ? {} : { config: o.config }) });
  const state = o.state === true ? { state: [{ in: 's', out: 't', shape: [1] }] } : {};
  const sum = await writePassport(site.modelsDir, { ...MODEL, ...state, name: 'sum', inputs: o.inputs ?? [signal()] });
  await site.inference.announce([site.cats, sum]);
  site.inference.computes(([window = Buffer.alloc(0), before]) => {
    const y = floats(window).reduce((all, value) => all + value, 0);
    const values = before === undefined ? { y } : { y, before: before.readFloatLE(0) };
    const after = Buffer.alloc(4);
    after.writeFloatLE((before?.readFloatLE(0) ?? 0) + 1);
    const result = Buffer.from(JSON.stringify({ task: 'regression', values }));
    return before === undefined ? [result] : [result, after];
  });
  return Object.assign(site, { sum });
}

const floats = (bytes: Uint8Array) => new Float32Array(new Uint8Array(bytes).buffer);
const raw = (...values: number[]) => Buffer.from(new Float32Array(values).buffer);

/** What was decided, as `seq.part: sum`. */
const said = ({ control }: Site) =>
  control.outcomes.map(({ seq, part, outcome, result, error }) => {
    return `${seq}.${part}: ${outcome === 'decided' ? result?.values?.['y'] : error?.code}`;
  });

async function heard(site: Site, count: number): Promise<string[]> {
  await until(
    () => site.control.outcomes.length >= count,
    () => said(site).join(', '),
  );
  return said(site);
}

/** Frames with MQTT 5 user properties reach the gateway so only through its own way in; the embedded broker speaks 3.1.1. */
const at = (site: Site, seq: number, position: number, payload: Buffer) =>
  site.service.receive({
    topic: `brink/dev-1/up/frames/imu/k3v9-${seq}`,
    payload,
    retain: false,
    properties: { userProperties: { at: String(position) } },
  });

describe('a signal', () => {
  const ROWS = [
    [1, 10],
    [2, 20],
    [3, 30],
    [4, 40],
    [5, 50],
    [6, 60],
  ] as const;
  const columns = { ax: ROWS.map(([ax]) => ax), ay: ROWS.map(([, ay]) => ay) };
  const cbor = Buffer.from([0xa2, 0x62, 0x61, 0x78, 0x86, 1, 2, 3, 4, 5, 6, 0x62, 0x61, 0x79, 0x86]);
  const WRITTEN: [string, string, Buffer][] = [
    ['json, by channel', 'json', Buffer.from(JSON.stringify(columns))],
    ['json, by moment', 'json', Buffer.from(JSON.stringify(ROWS.map(([ax, ay]) => ({ ax, ay }))))],
    ['cbor', 'cbor', Buffer.concat([cbor, Buffer.from([10, 0x14, 0x18, 30, 0x18, 40, 0x18, 50, 0x18, 60])])],
    ['csv', 'csv', Buffer.from(`ay,t,ax\n${ROWS.map(([ax, ay]) => `${ay},0,${ax}`).join('\n')}\n`)],
    ['f32le', 'f32le', raw(...ROWS.flat())],
    ['s16le', 's16le', Buffer.from(new Int16Array(ROWS.flat()).buffer)],
  ];

  it('gives the same windows, however its samples are written', async () => {
    await using site = await sensing({});
    const streams = WRITTEN.map(([, encoding], i) => {
      const fields = { encoding: encoding as 'json', fields: ['ax', 'ay'] };
      return [
        `s${i}`,
        { format: 'signal' as const, signal: fields, pipelines: { [`p${i}`]: { model: 'sum' } } },
      ] as const;
    });
    await site.configure({ ...SITE, streams: Object.fromEntries(streams) }, 'ffffffffffff');
    await site.ready();
    for (const [i, [title, , payload]] of WRITTEN.entries()) {
      await site.frame('dev-1', `s${i}`, payload, 'k3v9-1');
      expect([title, ...(await heard(site, 2 * i + 2)).slice(-2)]).toEqual([title, '1.0: 110', '1.1: 198']);
    }
    expectLaws(site);
  });

  it('that cannot be read is refused by name, and the next frame goes on behind the gap', async () => {
    await using site = await sensing({});
    await site.ready();
    const good = Buffer.from('{"ax":[1,1],"ay":[0,0]}');
    await site.frame('dev-1', 'imu', good, 'k3v9-1');
    const bad = [
      '{"ax":[1',
      '{"ax":[1]}',
      '{"ax":[1],"ay":[1,2]}',
      '{"ax":["a"],"ay":[1]}',
      '{"ax":[],"ay":[]}',
      'nothing',
    ];
    for (const [i, text] of bad.entries()) await site.frame('dev-1', 'imu', text, `k3v9-${i + 2}`);
    for (const seq of [8, 9]) await site.frame('dev-1', 'imu', good, `k3v9-${seq}`);
    expect(await heard(site, 1)).toEqual(['9.0: 4']);
    expect(site.control.outcomes[0]?.frames).toEqual({ boot: 'k3v9', first: 8, last: 9, received: 2 });
    await until(() => site.control.letters.length === bad.length);
    const codes = site.control.letters.map(({ error }) => error.code);
    expect(codes).toEqual(['E_DECODE', 'E_SHAPE', 'E_SHAPE', 'E_DECODE', 'E_SHAPE', 'E_TYPE']);
    expectLaws(site);
  });
});

describe('windows', () => {
  const encoded = { signal: { encoding: 'f32le' as const, fields: ['ax', 'ay'] } };

  it('lie across frames of any size, overlap, and say which frames they look at', async () => {
    await using site = await sensing(encoded);
    await site.ready();
    let seq = 0;
    for (const values of [[1], [2, 3, 4], [5], [6, 7, 8, 9]])
      await site.frame('dev-1', 'imu', raw(...values.flatMap((value) => [value, 0])), `k3v9-${++seq}`);
    expect(await heard(site, 3)).toEqual(['2.0: 10', '4.0: 18', '4.1: 26']);
    expect(site.control.outcomes.map(({ frames }) => frames)).toEqual([
      { boot: 'k3v9', first: 1, last: 2, received: 2 },
      { boot: 'k3v9', first: 2, last: 4, received: 3 },
      { boot: 'k3v9', first: 3, last: 4, received: 2 },
    ]);
    expect(site.service.counts.units('sum')).toMatchObject({ formed: 3, dropped: 0 });
  });

  it('begin anew behind a gap, or lie where the device says; what comes twice or late does no harm', async () => {
    await using site = await sensing(encoded);
    await site.ready();
    const two = (value: number) => raw(value, 0, value, 0);
    await site.frame('dev-1', 'imu', two(1), 'k3v9-1');
    await site.frame('dev-1', 'imu', two(2), 'k3v9-2');
    await site.frame('dev-1', 'imu', two(2), 'k3v9-2');
    // 3 is missing.
    await site.frame('dev-1', 'imu', two(4), 'k3v9-4');
    await site.frame('dev-1', 'imu', two(3), 'k3v9-3');
    await site.frame('dev-1', 'imu', two(5), 'k3v9-5');
    expect(await heard(site, 2)).toEqual(['2.0: 6', '5.0: 18']);
    // Positions: two samples in front of the next multiple of the hop are of no use.
    at(site, 7, 101, raw(9, 0, 1, 0, 1, 0, 1, 0, 1, 0));
    expect((await heard(site, 3)).at(-1)).toBe('7.0: 4');
    // The first half was there before.
    at(site, 9, 104, raw(7, 0, 7, 0, 2, 0, 2, 0));
    expect((await heard(site, 4)).at(-1)).toBe('9.0: 6');
    expectLaws(site);
  });

  it('are filled with zeros where a gap is to be, and its length is known', async () => {
    await using site = await sensing({ ...encoded, gap: 'fill' });
    await site.ready();
    at(site, 1, 0, raw(1, 0, 1, 0, 1, 0));
    at(site, 3, 6, raw(1, 0, 1, 0));
    // [1 1 1 0] [1 0 0 0] [0 0 1 1]
    expect(await heard(site, 3)).toEqual(['3.0: 3', '3.1: 1', '3.2: 2']);
    at(site, 5, 8_000_000, raw(5, 0, 5, 0, 5, 0, 5, 0));
    expect((await heard(site, 4)).at(-1)).toBe('5.0: 20');
  });

  it('without anything in them are decided, and said to be doubtful', async () => {
    await using site = await sensing(encoded);
    await site.ready();
    await site.frame('dev-1', 'imu', raw(0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0), 'k3v9-1');
    await heard(site, 2);
    expect(site.control.outcomes.map(({ result }) => result?.quality)).toEqual(['bad', undefined]);
  });

  it('of the newest frame take the place of those that wait, each counted', async () => {
    await using site = await sensing(encoded);
    await site.ready();
    const held = Promise.withResolvers<void>();
    const { units } = site.service.counts;
    site.inference.hold(held.promise);
    // Four times the best batch fills what inference gets at once; the rest waits.
    const eight = raw(...Array.from({ length: 16 }, () => 1));
    for (let seq = 1; seq <= 4; seq++) await site.frame('dev-1', 'imu', eight, `k3v9-${seq}`);
    await until(() => site.service.counts.units('sum').formed === 15);
    for (let seq = 5; seq <= 7; seq++) await site.frame('dev-1', 'imu', eight, `k3v9-${seq}`);
    await until(() => units('sum').formed === 27);
    held.resolve();
    await until(() => units('sum').pending === 0);
    // One of frame 5 had still room; of the others only those of the last frame are left.
    expect(units('sum')).toMatchObject({ formed: 27, dropped: 7, decided: 20 });
    const last = said(site).filter((text) => text.startsWith('7.'));
    expect(last.map((text) => text.split(':')[0])).toEqual(['7.0', '7.1', '7.2', '7.3']);
    expectLaws(site);
  });

  it('are at most one in every_ms, the last of a frame', async () => {
    await using site = await sensing(encoded, { pipeline: { every_ms: 60_000 } });
    await site.ready();
    for (const seq of [1, 2])
      await site.frame('dev-1', 'imu', raw(...Array.from({ length: 16 }, () => seq)), `k3v9-${seq}`);
    await until(() => site.service.counts.units('sum').formed === 7);
    expect(await heard(site, 1)).toEqual(['1.2: 8']);
    await until(() => site.service.counts.units('sum').pending === 0);
    expect(site.service.counts.units('sum')).toMatchObject({ formed: 7, dropped: 6, decided: 1 });
    expectLaws(site);
  });

  it('carry the state of a recurrent model on, one after the other, until a gap', async () => {
    await using site = await sensing(encoded, { state: true });
    await site.ready();
    const eight = raw(...Array.from({ length: 16 }, () => 1));
    for (const [seq, count] of [
      [1, 3],
      [2, 7],
      [4, 10],
    ] as const) {
      await site.frame('dev-1', 'imu', eight, `k3v9-${seq}`);
      await until(() => site.control.outcomes.length === count);
    }
    const states = site.control.outcomes.map(({ result }) => result?.values?.['before']);
    expect(states).toEqual([0, 1, 2, 3, 4, 5, 6, 0, 1, 2]);
    expect(Math.max(...site.inference.decides.map(({ decide }) => decide.units.length))).toBe(1);
  });

  it('that the stream cannot feed are refused by name', async () => {
    await using site = await sensing(encoded, { inputs: [signal({ channels: ['ax', 'az'] })] });
    const why = 'it takes the channels ax, az, and the stream brings ax, ay';
    await until(async () => (await site.problems()).some((problem) => problem.includes(why)));
    await site.frame('dev-1', 'imu', raw(1, 2), 'k3v9-1');
    expect(await heard(site, 1)).toEqual(['1.0: E_UNSUPPORTED']);
    expect(site.control.outcomes[0]?.error?.detail).toContain(why);
    expectLaws(site);
  });
});

describe('of a durable stream', () => {
  const durable = { delivery: 'durable' as const, signal: { encoding: 'f32le' as const, fields: ['ax', 'ay'] } };
  const rows = (site: Site) => site.metric(/spool_rows\{.*imu/);

  it('rows stay only as long as a window needs them, and a spool that is shorter than a window still fills it', async () => {
    const spool = { rowsMax: 2, bytesMax: 1_000_000, ageMsMax: 1_000_000 };
    await using site = await sensing(durable, { inputs: [signal({ window: 8, hop: 8 })], config: { spool } });
    await site.ready();
    for (let seq = 1; seq <= 17; seq++) await site.frame('dev-1', 'imu', raw(seq, 0), `k3v9-${seq}`);
    expect(await heard(site, 2)).toEqual(['8.0: 36', '16.0: 100']);
    await until(async () => (await rows(site)) === 1);
    expect(site.service.counts.units('sum')).toMatchObject({ formed: 2, decided: 2, pending: 0 });
    expectLaws(site);
  });

  it('that wait for a window when a process ends are completed by the next one; those that nobody completes go', async () => {
    await using site = await sensing(durable);
    await site.ready();
    await site.frame('dev-1', 'imu', raw(1, 0, 2, 0, 3, 0), 'k3v9-1');
    // Numbered by the gateway: the next process begins another boot.
    await site.frame('dev-2', 'imu', raw(1, 0, 2, 0, 3, 0));
    await until(async () => (await rows(site)) === 2);
    await site.service.stop();
    await site.restart();
    await until(async () => (await rows(site)) === 1);
    await site.frame('dev-1', 'imu', raw(4, 0), 'k3v9-2');
    expect(await heard(site, 1)).toEqual(['2.0: 10']);
    expect(site.control.outcomes[0]?.frames).toEqual({ boot: 'k3v9', first: 1, last: 2, received: 2 });
  });

  it('wait for the model to be known, and are cut then', async () => {
    await using site = await sensing(durable);
    await site.inference.announce([site.cats]);
    await until(async () => (await site.problems()).some((problem) => problem.includes('does not serve "sum"')));
    await site.service.stop();
    await site.restart();
    for (const seq of [1, 2, 3]) await site.frame('dev-1', 'imu', raw(seq, 0, seq, 0), `k3v9-${seq}`);
    await until(async () => (await rows(site)) === 3);
    await site.inference.announce([site.cats, site.sum]);
    expect(await heard(site, 2)).toEqual(['2.0: 6', '3.0: 10']);
    expectLaws(site);
  });
});
