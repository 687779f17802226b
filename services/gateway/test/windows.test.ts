import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { GatewayConfig } from '../src/config.ts';
import { writePassport } from './harness/neighbours.ts';
import { expectLaws, SITE, type Site, startSite, until } from './harness/site.ts';

type Streams = NonNullable<(typeof SITE)['streams']>;
type Stream = Partial<Streams[string]>;

interface Wanted {
  readonly stream?: Stream;
  readonly pipeline?: object;
  /** Of the model. */
  readonly signal?: object;
  readonly state?: true;
}

const SIGNAL = { rate_hz: 100, channels: ['ax', 'ay'], window: 4, hop: 2 };
const BEATS = { rate_hz: 125, channels: ['ax'], trigger: { peaks: {} }, window: 100, rate_as: 'bpm' };
const raw = (...values: number[]) => Buffer.from(new Float32Array(values).buffer);
const floats = (bytes: Uint8Array) => new Float32Array(new Uint8Array(bytes).buffer);
const in32 = { signal: { encoding: 'f32le' as const, fields: ['ax', 'ay'] } };
const written = (encoding: 'json' | 'cbor' | 'csv' | 'f32le' | 's16le') => ({
  stream: { signal: { encoding, fields: ['ax', 'ay'] } },
});

/** Each a stream, its pipeline and its model, all of one name. */
const WANTED: Record<string, Wanted> = {
  columns: written('json'),
  moments: written('json'),
  cbor: written('cbor'),
  csv: written('csv'),
  f32: written('f32le'),
  s16: written('s16le'),
  refused: written('json'),
  sizes: { stream: in32 },
  gaps: { stream: in32 },
  filled: { stream: { ...in32, gap: 'fill' } },
  zeros: { stream: in32 },
  newest: { stream: in32 },
  rare: { stream: in32, pipeline: { every_ms: 60_000 } },
  memory: { stream: in32, state: true },
  misfit: { stream: in32, signal: { ...SIGNAL, channels: ['ax', 'az'] } },
  beats: { stream: { signal: { encoding: 'f32le', fields: ['ax'] } }, signal: BEATS },
};

const streamsOf = (wanted: Record<string, Wanted>): Streams =>
  Object.fromEntries(
    Object.entries(wanted).map(([name, { stream, pipeline }]) => {
      const pipelines = { [name]: { model: name, ...pipeline } };
      return [name, { format: 'signal', frame_age_ms_max: 10_000, ...stream, pipelines }];
    }),
  );

/** A site whose models answer with the sum of what they get, and with a state count their units. */
async function sensing(wanted: Record<string, Wanted>, config?: Partial<GatewayConfig>) {
  const configuration = { ...SITE, streams: streamsOf(wanted) };
  const site = await startSite({ configuration, ...(config === undefined ? {} : { config }) });
  const models = [site.cats];
  for (const [name, { signal = SIGNAL, state }] of Object.entries(wanted)) {
    const kept = state === undefined ? {} : { state: [{ in: 's', out: 't', shape: [1] }] };
    const output = { decoder: 'regression', tensors: { y: 'y' }, names: ['y'] };
    models.push(
      await writePassport(site.modelsDir, {
        ...{ name, task: 'regression', output, ...kept },
        inputs: [{ tensor: 'x', signal }],
      }),
    );
  }
  await site.inference.announce(models);
  site.inference.computes(([window = Buffer.alloc(0), before]) => {
    const y = floats(window).reduce((all, value) => all + value, 0);
    const values = before === undefined ? { y } : { y, before: before.readFloatLE(0) };
    const after = Buffer.alloc(4);
    after.writeFloatLE((before?.readFloatLE(0) ?? 0) + 1);
    const result = Buffer.from(JSON.stringify({ task: 'regression', values }));
    return before === undefined ? [result] : [result, after];
  });
  await until(() => Object.keys(wanted).every((name) => site.service.serves(name)));
  return Object.assign(site, { models });
}

/** One stream of a site, seen from outside. */
function of(site: Site, name: string) {
  const one = {
    get outcomes() {
      return site.control.outcomes.filter(({ stream }) => stream === name);
    },
    get counts() {
      return site.service.counts.units(name);
    },
    /** What was decided, as `seq.part: sum`. */
    get said() {
      return one.outcomes.map(({ seq, part, outcome, result, error }) => {
        return `${seq}.${part}: ${outcome === 'decided' ? result?.values?.['y'] : error?.code}`;
      });
    },
    async heard(count: number): Promise<string[]> {
      await until(
        () => one.outcomes.length >= count,
        () => one.said.join(', '),
      );
      return one.said;
    },
    send: (seq: number, payload: Buffer | string) => site.frame('dev-1', name, payload, `k3v9-${seq}`),
    /** With MQTT 5 user properties, which the embedded broker does not speak: by the gateway's own way in. */
    at: (seq: number, position: number, payload: Buffer) =>
      site.service.receive({
        topic: `brink/dev-1/up/frames/${name}/k3v9-${seq}`,
        payload,
        retain: false,
        properties: { userProperties: { at: String(position) } },
      }),
    rows: () => site.metric(new RegExp(`spool_rows\\{.*${name}`)),
  };
  return one;
}

describe('a signal', () => {
  let site: Site;
  beforeAll(async () => {
    site = await sensing(WANTED);
  });
  afterAll(async () => {
    expectLaws(site);
    await site[Symbol.asyncDispose]();
  });
  const eight = raw(...Array.from({ length: 16 }, () => 1));

  it('gives the same windows, however its samples are written', async () => {
    const rows = [1, 2, 3, 4, 5, 6].map((ax) => ({ ax, ay: ax * 10 }));
    const columns = { ax: rows.map(({ ax }) => ax), ay: rows.map(({ ay }) => ay) };
    const flat = rows.flatMap(({ ax, ay }) => [ax, ay]);
    const cbor = [0xa2, 0x62, 0x61, 0x78, 0x86, 1, 2, 3, 4, 5, 6, 0x62, 0x61, 0x79, 0x86, 10, 20];
    const payloads = {
      columns: JSON.stringify(columns),
      moments: JSON.stringify(rows),
      cbor: Buffer.from([...cbor, 0x18, 30, 0x18, 40, 0x18, 50, 0x18, 60]),
      csv: `ay,t,ax\n${rows.map(({ ax, ay }) => `${ay},0,${ax}`).join('\n')}\n`,
      f32: raw(...flat),
      s16: Buffer.from(new Int16Array(flat).buffer),
    };
    for (const [name, payload] of Object.entries(payloads)) {
      const stream = of(site, name);
      await stream.send(1, payload);
      expect([name, ...(await stream.heard(2))]).toEqual([name, '1.0: 110', '1.1: 198']);
    }
  });

  it('that cannot be read is refused by name, and the next frame goes on behind the gap', async () => {
    const stream = of(site, 'refused');
    const good = '{"ax":[1,1],"ay":[0,0]}';
    await stream.send(1, good);
    const bad = ['{"ax":[1', '{"ax":[1]}', '{"ax":[1],"ay":[1,2]}', '{"ax":["a"],"ay":[1]}', '{"ax":[],"ay":[]}', 'no'];
    for (const [i, text] of bad.entries()) await stream.send(i + 2, text);
    for (const seq of [8, 9]) await stream.send(seq, good);
    expect(await stream.heard(1)).toEqual(['9.0: 4']);
    expect(stream.outcomes[0]?.frames).toEqual({ boot: 'k3v9', first: 8, last: 9, received: 2 });
    await until(() => site.control.letters.length === bad.length);
    const codes = site.control.letters.map(({ error }) => error.code);
    expect(codes).toEqual(['E_DECODE', 'E_SHAPE', 'E_SHAPE', 'E_DECODE', 'E_SHAPE', 'E_TYPE']);
  });

  it('is cut into windows across frames of any size, which overlap and say which frames they look at', async () => {
    const stream = of(site, 'sizes');
    const parts = [[1], [2, 3, 4], [5], [6, 7, 8, 9]];
    for (const [i, values] of parts.entries()) await stream.send(i + 1, raw(...values.flatMap((value) => [value, 0])));
    expect(await stream.heard(3)).toEqual(['2.0: 10', '4.0: 18', '4.1: 26']);
    expect(stream.outcomes.map(({ frames }) => frames)).toEqual([
      { boot: 'k3v9', first: 1, last: 2, received: 2 },
      { boot: 'k3v9', first: 2, last: 4, received: 3 },
      { boot: 'k3v9', first: 3, last: 4, received: 2 },
    ]);
    expect(stream.counts).toMatchObject({ formed: 3, dropped: 0 });
  });

  it('begins anew behind a gap, or lies where the device says; what comes twice or late does no harm', async () => {
    const stream = of(site, 'gaps');
    const two = (value: number) => raw(value, 0, value, 0);
    // 3 is missing, and comes late.
    for (const seq of [1, 2, 2, 4, 3, 5]) await stream.send(seq, two(seq));
    expect(await stream.heard(2)).toEqual(['2.0: 6', '5.0: 18']);
    // Positions: a sample in front of the next multiple of the hop is of no use.
    stream.at(7, 101, raw(9, 0, 1, 0, 1, 0, 1, 0, 1, 0));
    expect((await stream.heard(3)).at(-1)).toBe('7.0: 4');
    // The first half was there before.
    stream.at(9, 104, raw(7, 0, 7, 0, 2, 0, 2, 0));
    expect((await stream.heard(4)).at(-1)).toBe('9.0: 6');
  });

  it('is filled with zeros where a gap is to be, and its length is known', async () => {
    const stream = of(site, 'filled');
    stream.at(1, 0, raw(1, 0, 1, 0, 1, 0));
    stream.at(3, 6, raw(1, 0, 1, 0));
    // [1 1 1 0] [1 0 0 0] [0 0 1 1]
    expect(await stream.heard(3)).toEqual(['3.0: 3', '3.1: 1', '3.2: 2']);
    stream.at(5, 8_000_000, raw(5, 0, 5, 0, 5, 0, 5, 0));
    expect((await stream.heard(4)).at(-1)).toBe('5.0: 20');
  });

  it('without anything in it is decided, and said to be doubtful', async () => {
    const stream = of(site, 'zeros');
    await stream.send(1, raw(0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0));
    await stream.heard(2);
    expect(stream.outcomes.map(({ result }) => result?.quality)).toEqual(['bad', undefined]);
  });

  it('of the newest frame takes the place of what waits, each window counted', async () => {
    const stream = of(site, 'newest');
    const held = Promise.withResolvers<void>();
    site.inference.hold(held.promise);
    // A batch of the device's fills what may be under way of it; the rest waits.
    for (let seq = 1; seq <= 4; seq++) await stream.send(seq, eight);
    await until(() => stream.counts.formed === 15);
    for (let seq = 5; seq <= 7; seq++) await stream.send(seq, eight);
    await until(() => stream.counts.formed === 27);
    held.resolve();
    await until(() => stream.counts.pending === 0);
    // Four were under way; of what waited only that of the last frame is left.
    expect(stream.counts).toMatchObject({ formed: 27, dropped: 19, decided: 8 });
    const last = stream.said.filter((text) => text.startsWith('7.'));
    expect(last.map((text) => text.split(':')[0])).toEqual(['7.0', '7.1', '7.2', '7.3']);
  });

  it('is decided at most once in every_ms, by the last window of a frame', async () => {
    const stream = of(site, 'rare');
    for (const seq of [1, 2]) await stream.send(seq, eight);
    await until(() => stream.counts.formed === 7);
    expect(await stream.heard(1)).toEqual(['1.2: 8']);
    await until(() => stream.counts.pending === 0);
    expect(stream.counts).toMatchObject({ formed: 7, dropped: 6, decided: 1 });
  });

  it('carries the state of a recurrent model on, window by window, until a gap', async () => {
    const stream = of(site, 'memory');
    const counts = { 1: 3, 2: 7, 4: 10 };
    for (const [seq, count] of Object.entries(counts)) {
      await stream.send(Number(seq), eight);
      await stream.heard(count);
    }
    const states = stream.outcomes.map(({ result }) => result?.values?.['before']);
    expect(states).toEqual([0, 1, 2, 3, 4, 5, 6, 0, 1, 2]);
    const decides = site.inference.decides.filter(({ decide }) => decide.model === 'memory');
    expect(Math.max(...decides.map(({ decide }) => decide.units.length))).toBe(1);
  });

  it('that cannot feed its model is refused by name', async () => {
    const stream = of(site, 'misfit');
    const why = 'it takes the channels ax, az, and the stream brings ax, ay';
    await until(async () => (await site.problems()).some((problem) => problem.includes(why)));
    await stream.send(1, raw(1, 2));
    expect(await stream.heard(1)).toEqual(['1.0: E_UNSUPPORTED']);
    expect(stream.outcomes[0]?.error?.detail).toContain(why);
  });

  it('posted over HTTP is answered with the units that it completed, which may be none', async () => {
    const post = (seq: bigint, ...values: number[]) =>
      site.control.post({ device: 'dev-2', stream: 'sizes', boot: 'k3v9', seq, waitMs: 5000 }, raw(...values));
    expect(await post(1n, 1, 0, 1, 0, 1, 0)).toMatchObject({ units: [] });
    const { units } = await post(2n, ...Array.from({ length: 6 }, () => 1));
    const ids = [0, 1].map((part) => ({ id: `dev-2.sizes.k3v9.2.${part}.sizes`, fate: 'committed' }));
    expect(units).toMatchObject(ids);
  });

  it('of more devices than there is room for is refused by name, and those that are there go on', async () => {
    await using small = await sensing({ sizes: { stream: in32 } }, { windows: { bytesMax: 1 } });
    const stream = of(small, 'sizes');
    await stream.send(1, raw(1, 0));
    await until(async () => (await small.metric(/^brink_gateway_window_bytes/)) > 1);
    await small.frame('dev-2', 'sizes', raw(1, 0), 'k3v9-1');
    await until(() => small.control.letters.length === 1);
    expect(small.control.letters[0]).toMatchObject({ device: 'dev-2', error: { code: 'E_BUSY' } });
    await stream.send(2, raw(1, 0, 1, 0, 1, 0));
    expect(await stream.heard(1)).toEqual(['2.0: 4']);
    expectLaws(small);
  });

  it('of a heart is cut at its beats, and their rate stands in the values', async () => {
    const stream = of(site, 'beats');
    // A spike every 100 samples of 125 per second.
    const samples = Array.from(
      { length: 1500 },
      (_, i) => 5 * Math.exp(-(((i % 100) - 50) ** 2) / 4) + 0.01 * Math.sin(i),
    );
    for (let i = 0; i < 30; i++) await stream.send(i + 1, raw(...samples.slice(i * 50, i * 50 + 50)));
    await stream.heard(10);
    for (const { result } of stream.outcomes.slice(3)) {
      expect(result?.values).toMatchObject({ y: expect.any(Number), bpm: expect.closeTo(75, 0) });
    }
  });
});

describe('rows of a durable stream of windows', () => {
  const durable = { imu: { stream: { ...in32, delivery: 'durable' as const } } };
  const long = { imu: { ...durable.imu, signal: { ...SIGNAL, window: 8, hop: 8 } } };

  it('stay only as long as a window needs them, and where the spool is shorter than a window it is still filled', async () => {
    await using site = await sensing(long, { spool: { rowsMax: 2, bytesMax: 1_000_000, ageMsMax: 1_000_000 } });
    const stream = of(site, 'imu');
    for (let seq = 1; seq <= 17; seq++) await stream.send(seq, raw(seq, 0));
    expect(await stream.heard(2)).toEqual(['8.0: 36', '16.0: 100']);
    await until(async () => (await stream.rows()) === 1);
    expect(stream.counts).toMatchObject({ formed: 2, decided: 2, pending: 0 });
    expectLaws(site);
  });

  it('wait for the next process, and for the model to be known; those that nobody completes go', async () => {
    await using site = await sensing(durable);
    const stream = of(site, 'imu');
    await stream.send(1, raw(1, 0, 2, 0, 3, 0));
    // Numbered by the gateway: the next process begins another boot.
    await site.frame('dev-2', 'imu', raw(1, 0, 2, 0, 3, 0));
    await until(async () => (await stream.rows()) === 2);
    await site.inference.announce([site.cats]);
    await site.service.stop();
    await site.restart();
    await stream.send(2, raw(4, 0));
    await until(async () => (await stream.rows()) === 3);
    expect(stream.outcomes).toHaveLength(0);
    await site.inference.announce(site.models);
    expect(await stream.heard(1)).toEqual(['2.0: 10']);
    expect(stream.outcomes[0]?.frames).toEqual({ boot: 'k3v9', first: 1, last: 2, received: 2 });
    await until(async () => (await stream.rows()) === 2);
    expectLaws(site);
  });

  it('go on under another configuration, also where a unit was under way when it came', async () => {
    await using site = await sensing(durable);
    const stream = of(site, 'imu');
    const held = Promise.withResolvers<void>();
    site.inference.hold(held.promise);
    await stream.send(1, raw(1, 0, 1, 0, 1, 0, 1, 0));
    await until(() => site.inference.units.length === 1);
    const streams = streamsOf({ imu: { ...durable.imu, pipeline: { priority: 9 } } });
    await site.configure({ ...SITE, streams }, 'ffffffffffff');
    await stream.send(2, raw(1, 0, 1, 0));
    held.resolve();
    expect(await stream.heard(2)).toEqual(['1.0: 4', '2.0: 4']);
    await stream.send(3, raw(2, 0, 2, 0));
    expect((await stream.heard(3)).at(-1)).toBe('3.0: 6');
    // The last window begins in the second frame.
    await until(async () => (await stream.rows()) === 1);
    expect(stream.counts).toMatchObject({ formed: 3, decided: 3 });
    expectLaws(site);
  });
});
