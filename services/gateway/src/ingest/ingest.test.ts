import { ConfigurationSchema, createTopics } from '@brink/protocol';
import { createTestClock } from '@brink/runtime';
import { describe, expect, it } from 'vitest';
import { type Counts, countSettled, createCounts } from '../outcomes/counts.ts';
import { createDeadLetters } from '../outcomes/letters.ts';
import { createWindows } from '../window/windows.ts';
import { createAdmission } from './admission.ts';
import type { FrameMessage } from './arrival.ts';
import { createDiscovered } from './discovered.ts';
import { createForeignTopics } from './foreign.ts';
import { sha256Of } from './frame.ts';
import { createIngest } from './ingest.ts';
import { planOf } from './plan.ts';
import { createRefusals } from './refusals.ts';
import { createSources } from './sources.ts';

const STREAMS = {
  front: {
    devices: 'cam-*',
    format: 'image',
    frame_bytes_max: 1000,
    frame_age_ms_max: 500,
    pipelines: { pets: { model: 'cats' }, rare: { model: 'slow', every_ms: 200 } },
  },
  raw: { format: 'tensor', frame_age_ms_max: 500, pipelines: { bits: { model: 'cats', priority: 8 } } },
};

/** The way in, without network and without anybody who takes frames by himself. */
function entrance(o: { sourcesMax?: number; streams?: object } = {}) {
  const clock = createTestClock();
  const counts = createCounts();
  const letters: { error: { code: string }; device: string; sha256: string }[] = [];
  const codes: string[] = [];
  const unitDrops: string[] = [];
  const admission = createAdmission({ counts, onUnitDropped: (reason) => unitDrops.push(reason) });
  const sources = createSources({ sourcesMax: o.sourcesMax ?? 100 }, { counts, admission });
  const configure = (streams: object, revision = '0123456789ab', approved?: string[]) => {
    const site = { join: approved === undefined ? 'open' : 'approve' };
    const configuration = ConfigurationSchema.parse({ version: 1, site, streams });
    sources.apply(planOf({ revision, configuration, ...(approved === undefined ? {} : { approved }) }));
  };
  configure(o.streams ?? STREAMS);
  const discovered = createDiscovered({ entriesMax: 3 });
  const foreign = createForeignTopics({ root: 'brink' });
  const ingest = createIngest(
    { boot: 'gabcdefgh', topics: createTopics() },
    {
      clock,
      random: () => 0.5,
      counts,
      foreign,
      sources,
      admission,
      windows: createWindows({ bytesMax: 1 }, { models: { known: () => undefined }, admission, onUnseen: () => {} }),
      refusals: createRefusals({
        clock,
        counts,
        discovered,
        foreign,
        letters: createDeadLetters(
          { burst: 1000, perSecond: 0 },
          { outbox: { addLetter: (json) => letters.push(JSON.parse(json)) }, onSuppressed: () => {} },
        ),
        onRejected: (code) => codes.push(code),
      }),
      intake: { admit: () => {}, retire: () => {} },
      onOffered: () => {},
    },
  );
  const receive = (topic: string, payload: Uint8Array = Buffer.alloc(48), over: Partial<FrameMessage> = {}) =>
    ingest.receive({ topic: `brink/${topic}`, payload, retain: false, ...over });
  return { clock, counts, letters, codes, unitDrops, admission, sources, configure, discovered, ingest, receive };
}

const JPEG = Buffer.from([0xff, 0xd8, 0xff, 0xe0, 1, 2, 3]);

describe('a message on a frame topic', () => {
  it('of a device that nobody approved is refused by name where the site asks for that, and taken once somebody has', () => {
    const { receive, letters, configure, counts } = entrance();
    receive('cam-1/up/frames/front', JPEG);
    // Also of one whose frames were taken before.
    configure(STREAMS, undefined, ['cam-2']);
    for (const device of ['cam-1', 'cam-2', 'cam-3']) receive(`${device}/up/frames/front`, JPEG);
    expect(letters.map(({ device, error }) => [device, error.code])).toEqual([
      ['cam-1', 'E_DEVICE'],
      ['cam-3', 'E_DEVICE'],
    ]);
    expect(counts.elsewhere).toMatchObject({ received: 2, rejected: 2 });
    configure(STREAMS, undefined, ['cam-1', 'cam-2']);
    receive('cam-1/up/frames/front', JPEG);
    expect(letters).toHaveLength(2);
    configure(STREAMS);
    receive('cam-3/up/frames/front', JPEG);
    expect(letters).toHaveLength(2);
    expect(counts.frames('cam-1', 'front').received).toBe(2);
  });

  it('is refused by name where it can be no frame', () => {
    const { receive, letters, codes, counts } = entrance();
    const cases: [string, string, Uint8Array, Partial<FrameMessage>][] = [
      ['E_RETAINED', 'cam-1/up/frames/front', JPEG, { retain: true }],
      ['E_EMPTY', 'cam-1/up/frames/front', Buffer.alloc(0), {}],
      ['E_TOO_LARGE', 'cam-1/up/frames/front', Buffer.concat([JPEG, Buffer.alloc(1000)]), {}],
      ['E_IMAGE_TYPE', 'cam-1/up/frames/front', Buffer.from('GIF89a'), {}],
      ['E_TYPE', 'cam-1/up/frames/front', JPEG, { properties: { contentType: 'image/gif' } }],
      ['E_TYPE', 'cam-1/up/frames/raw', JPEG, { properties: { contentType: 'image/jpeg' } }],
      ['E_TOPIC', 'cam-1/up/frames/front', JPEG, { properties: { userProperties: { boot: 'k3v9', seq: 'x' } } }],
      ['E_TOPIC', 'cam-1/up/frames/front/k3v9-0', JPEG, {}],
      ['E_NAME', 'Cam/up/frames/front', JPEG, {}],
      ['E_TOPIC', 'cam-1/up/frames', JPEG, {}],
    ];
    for (const [code, topic, payload, over] of cases) {
      receive(topic, payload, over);
      expect(codes.at(-1), topic).toBe(code);
      expect(letters.at(-1)).toMatchObject({
        dead: true,
        error: { code },
        sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      });
    }
    expect(letters).toHaveLength(cases.length);
    expect(counts.elsewhere.rejected).toBe(4);
    expect(counts.frames('cam-1', 'front').rejected).toBe(5);
    // the control: the same bytes, said rightly
    receive('cam-1/up/frames/front', JPEG, { properties: { contentType: 'image/jpeg' } });
    expect(counts.frames('cam-1', 'front').accepted).toBe(1);
  });

  it('has its number in the topic, or in MQTT 5 user properties, or gets one', () => {
    const { receive, admission } = entrance();
    const ids: string[] = [];
    const take = () => {
      const taken = admission.take('cats', 0, true);
      ids.push(`${taken?.frame.id.boot}-${taken?.frame.id.seq}`);
    };
    receive('d/up/frames/raw/k3v9-7');
    take();
    receive('d/up/frames/raw', undefined, { properties: { userProperties: { boot: 'k3v9', seq: '8' } } });
    take();
    receive('d/up/frames/raw');
    take();
    expect(ids).toEqual(['k3v9-7', 'k3v9-8', 'gabcdefgh-1']);
  });

  it('of an undeclared stream is discovered; only so many are remembered, the last seen first', () => {
    const { receive, discovered, counts, letters, configure } = entrance();
    for (const stream of ['a', 'b', 'c', 'd', 'b']) receive(`cam-1/up/frames/${stream}`, JPEG);
    receive('dev-1/up/frames/front', JPEG);
    expect(discovered.report().map(({ device, stream, frames }) => [device, stream, frames])).toEqual([
      ['dev-1', 'front', 1],
      ['cam-1', 'b', 2],
      ['cam-1', 'd', 1],
    ]);
    expect(discovered.evicted).toBe(2);
    expect(counts.elsewhere).toMatchObject({ received: 6, rejected: 6 });
    expect(letters).toHaveLength(0);
    configure({ ...STREAMS, b: { format: 'image', pipelines: {} } });
    discovered.forget((_, stream) => stream === 'b');
    expect(discovered.size).toBe(2);
  });

  it('is refused with E_BUSY when there are too many sources, and the known ones go on', () => {
    const { receive, codes, counts } = entrance({ sourcesMax: 1 });
    receive('a/up/frames/raw');
    receive('b/up/frames/raw');
    expect(codes).toEqual(['E_BUSY']);
    receive('a/up/frames/raw');
    expect(counts.frames('a', 'raw').received).toBe(2);
  });

  it('that waits has bytes of its own; one that is taken at once is not copied', () => {
    const { receive, admission } = entrance();
    const chunk = Buffer.alloc(65_536, 3);
    receive('a/up/frames/raw', chunk.subarray(100, 148));
    const waited = admission.take('cats', 0, true)!.frame;
    expect(waited.payload.buffer.byteLength).toBe(48);
    expect(sha256Of(waited)).toBe(sha256Of({ ...waited, payload: chunk.subarray(0, 48), sha256: undefined }));
    const whole = new Uint8Array(49_152);
    receive('a/up/frames/raw', whole);
    expect(admission.take('cats', 0, true)!.frame.payload).toBe(whole);
  });
});

describe('waiting places', () => {
  it('are one per device: the newest frame wins, and keeps the turn', () => {
    const { receive, admission, counts } = entrance();
    for (const [device, seq] of [
      ['a', 1],
      ['b', 1],
      ['a', 2],
      ['a', 3],
    ] as const)
      receive(`${device}/up/frames/raw/k3v9-${seq}`);
    const order = [0, 0].map(() => admission.take('cats', 0, true)!.frame.id);
    expect(order.map(({ device, seq }) => `${device} ${seq}`)).toEqual(['a 3', 'b 1']);
    expect(admission.take('cats', 0, true)).toBeUndefined();
    expect(counts.frames('a', 'raw')).toMatchObject({ received: 3, accepted: 1, dropped: 2 });
  });

  it('are emptied by priority, and no picture holds up a tensor', () => {
    const { receive, admission } = entrance();
    receive('cam-1/up/frames/front', JPEG);
    receive('d/up/frames/raw');
    expect(admission.take('cats', 0, false)?.lane.pipeline.name).toBe('bits');
    expect(admission.take('cats', 0, false)).toBeUndefined();
    expect(admission.take('cats', 0, true)?.lane.pipeline.name).toBe('pets');
  });

  it('give up what is older than the stream allows', async () => {
    const { receive, admission, clock } = entrance();
    receive('d/up/frames/raw');
    await clock.advance(499);
    expect(admission.takeExpired(clock.monotonic())).toHaveLength(0);
    await clock.advance(1);
    expect(admission.takeExpired(clock.monotonic())).toHaveLength(1);
  });
});

describe('the two laws', () => {
  const count = process.env['BRINK_TEST_SIZE'] === 'long' ? 200_000 : 5000;

  it(`hold after every step of a random history (${count} steps)`, async () => {
    const { receive, admission, clock, counts, configure, sources, unitDrops } = entrance();
    const random = seeded(7);
    const open: string[] = [];
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
    const steps: (() => unknown)[] = [
      () => receive(`cam-${Math.floor(random() * 5)}/up/frames/front/boot-${1 + Math.floor(random() * 500)}`, JPEG),
      () => receive(`dev-${Math.floor(random() * 5)}/up/frames/raw`, pick([Buffer.alloc(48), Buffer.alloc(0)])),
      () => receive(pick(['cam-1/up/frames/other', 'X/up/frames/raw', 'cam-1/up/frames/front/x']), JPEG),
      () => {
        const taken = admission.take(pick(['cats', 'slow']), clock.monotonic(), random() < 0.7);
        if (taken !== undefined) open.push(taken.lane.pipeline.name);
      },
      () => open.push(...admission.takeExpired(clock.monotonic()).map(({ lane }) => lane.pipeline.name)),
      () => {
        const [pipeline] = open.splice(0, 1);
        if (pipeline !== undefined)
          countSettled(counts.units(pipeline), pick(['decided', 'expired', 'dead', 'dropped'] as const));
      },
      () => (random() < 0.02 ? configure(pick([STREAMS, { raw: STREAMS.raw }]), 'ffffffffffff') : undefined),
      () => (random() < 0.1 ? clock.advance(Math.floor(random() * 300)) : undefined),
    ];
    const before = { received: 0, formed: 0 };
    for (let i = 0; i < count; i++) {
      await pick(steps)();
      expectLaws(counts, i);
    }
    const { streams, pipelines } = counts.report();
    before.received = streams.reduce((sum, row) => sum + row.received, 0);
    before.formed = pipelines.reduce((sum, row) => sum + row.formed, 0);
    expect(before.received).toBeGreaterThan(count / 8);
    expect(before.formed).toBeGreaterThan(count / 20);
    // Everything that was formed has ended once what is open is settled and what waits is abandoned.
    for (const pipeline of open) countSettled(counts.units(pipeline), 'decided');
    sources.abandonAll();
    for (const row of counts.report().pipelines) expect(row.pending).toBe(0);
    expect(new Set(unitDrops)).toEqual(new Set(['replaced', 'every_ms', 'configuration', 'stopped']));
    // Every accepted frame formed one unit for each pipeline of its stream, whatever became of it.
    const accepted = (stream: string) =>
      streams.filter((row) => row.stream === stream).reduce((sum, row) => sum + row.accepted, 0);
    expect(counts.units('pets').formed).toBe(accepted('front'));
    expect(counts.units('rare').formed).toBe(accepted('front'));
    expect(counts.units('bits').formed).toBe(accepted('raw'));
  });
});

function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
}

function expectLaws(counts: Counts, step: number): void {
  const { streams, pipelines } = counts.report();
  const wrongFrames = [...streams, counts.elsewhere].filter(
    (row) => row.received !== row.accepted + row.duplicate + row.rejected + row.dropped,
  );
  const wrongUnits = pipelines.filter(
    (row) => row.formed !== row.decided + row.expired + row.dead + row.dropped + row.pending || row.pending < 0,
  );
  if (wrongFrames.length + wrongUnits.length > 0)
    expect.fail(`step ${step}: ${JSON.stringify([...wrongFrames, ...wrongUnits])}`);
}
