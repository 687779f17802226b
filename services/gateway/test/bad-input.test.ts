import mqtt from 'mqtt';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { BAD_INPUTS, type BadInput, signal } from './harness/bad-inputs.ts';
import { EVERY_KIND, GOOD, serveEveryKind } from './harness/every-kind.ts';
import { jpeg, png } from './harness/pictures.ts';
import { expectLaws, type Site, startSite, tensor, until } from './harness/site.ts';

let site: Site;
beforeAll(async () => {
  site = await startSite({ configuration: EVERY_KIND });
  await serveEveryKind(site);
  await site.ready();
  for (const _ of GOOD) await goodBeside();
});
afterEach(() => expectLaws(site));
afterAll(() => site?.[Symbol.asyncDispose]());

const outcomesOf = (device: string, stream: string) =>
  site.control.outcomes.filter((one) => one.device === device && one.stream === stream);
const lettersOf = (device: string) => site.control.letters.filter((letter) => letter.device === device);
const rejected = (code: string) => site.metric(new RegExp(`frames_rejected_total\\{.*code="${code}"`));

let good = 0;
/** A good frame, of each kind in turn, sent after whatever came before and decided. */
async function goodBeside(): Promise<void> {
  const [stream, payload] = GOOD[good++ % GOOD.length]!;
  const device = `good-${good}`;
  await site.frame(device, stream, payload());
  const decided = () => outcomesOf(device, stream).some(({ outcome }) => outcome === 'decided');
  await until(decided, () => `a good frame on ${stream}: ${JSON.stringify(outcomesOf(device, stream))}`);
}

describe('a bad input', () => {
  it.each(BAD_INPUTS.map((input, i) => ({ ...input, i })))('$title', async (input) => {
    const device = `bad-${input.i}`;
    const streams = [input.stream, `${input.stream}-kept`];
    const before = await counted(input.code);
    const payload = input.payload();
    for (const stream of streams) await send(input, payload, device, stream);
    await goodBeside();
    for (const stream of streams) await (input.fate === 'refused' ? isRefused : ends)(input, device, stream);
    if (input.fate === 'refused') expect(await counted(input.code)).toBe(before + streams.length);
    else expect(lettersOf(device)).toEqual([]);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });
});

async function isRefused({ code, says }: BadInput, device: string, stream: string): Promise<void> {
  const letters = () => lettersOf(device).filter((letter) => letter.stream === stream);
  await until(() => letters().length === 1, `a letter of ${stream}`);
  const { error } = letters()[0]!;
  expect(error.code).toBe(code);
  expect(error.detail).toMatch(says!);
  expect(error.detail.length).toBeLessThan(400);
  const row = site.service.counts.frames(device, stream);
  expect(row).toMatchObject({ received: 1, accepted: 0, duplicate: 0, rejected: 1, dropped: 0 });
}

async function ends({ fate, code, says, quality }: BadInput, device: string, stream: string): Promise<void> {
  await until(() => outcomesOf(device, stream).length === 1, `an outcome of ${stream}`);
  const [outcome] = outcomesOf(device, stream);
  expect(outcome).toMatchObject({ outcome: fate });
  expect(outcome?.error?.code).toBe(code);
  expect(outcome?.result?.quality).toBe(quality);
  if (says !== undefined) expect(outcome?.error?.detail).toMatch(says);
  expect(site.service.counts.frames(device, stream)).toMatchObject({ received: 1, accepted: 1, rejected: 0 });
}

describe('a number of a frame', () => {
  const ids = (...list: string[]) => list.map((id) => `k3v9-${id}`);

  it('27. that goes back is a duplicate where the latest counts, and late where everything is kept', async () => {
    const late = await rejected('E_SEQ_LATE');
    for (const stream of ['raw', 'raw-kept']) {
      for (const id of ids('5', '6', '7')) await site.frame('rewinds', stream, tensor(), id);
      await until(() => outcomesOf('rewinds', stream).length === (stream === 'raw' ? 1 : 3) || stream === 'raw');
    }
    await site.publish('brink/rewinds/up/retired/raw-kept', JSON.stringify({ boot: 'k3v9', below: 8 }));
    for (const stream of ['raw', 'raw-kept']) await site.frame('rewinds', stream, tensor(), 'k3v9-3');
    const [latest, kept] = [
      site.service.counts.frames('rewinds', 'raw'),
      site.service.counts.frames('rewinds', 'raw-kept'),
    ];
    await until(() => latest.received === 4 && kept.received === 4);
    expect(latest).toMatchObject({ duplicate: 1, rejected: 0 });
    expect(kept).toMatchObject({ accepted: 3, duplicate: 0, rejected: 1 });
    expect(await rejected('E_SEQ_LATE')).toBe(late + 1);
    await goodBeside();
  });

  it('27. that leaps by 1e9 is taken, and counted as a gap', async () => {
    for (const stream of ['raw', 'raw-kept', 'pump']) {
      const payload = stream === 'pump' ? signal() : tensor();
      await site.frame('leaps', stream, payload, 'k3v9-1');
      await until(() => outcomesOf('leaps', stream).length === 1);
      await site.frame('leaps', stream, payload, 'k3v9-1000000001');
      await until(() => outcomesOf('leaps', stream).length === 2);
      expect(outcomesOf('leaps', stream)[1]).toMatchObject({ outcome: 'decided', seq: 1_000_000_001 });
      expect(await site.metric(new RegExp(`frame_gaps_total\\{.*stream="${stream}"`))).toBe(1);
    }
  });

  it.each(['9007199254740993', '0', '-1', '1e3', '01', 'x'])('26. %s is no number: E_TOPIC', async (seq) => {
    const before = [await rejected('E_TOPIC'), site.service.counts.elsewhere.rejected] as const;
    await site.frame(`odd-${before[1]}`, 'raw', tensor(), `k3v9-${seq}`);
    await goodBeside();
    expect([await rejected('E_TOPIC'), site.service.counts.elsewhere.rejected]).toEqual(before.map((n) => n + 1));
    expect(lettersOf(`odd-${before[1]}`)[0]?.error.detail).toContain('expected <boot>-<seq>, as k3v9-1042');
  });
});

describe('a topic', () => {
  it('that names no device is refused by name', async () => {
    const letters = site.control.letters.length;
    await site.publish('brink/CAM_5/up/frames/front', png(8, 8));
    await goodBeside();
    await until(() => site.control.letters.length === letters + 1);
    expect(site.control.letters.at(-1)).toMatchObject({ device: 'CAM_5', error: { code: 'E_NAME' } });
    expect(site.control.letters.at(-1)?.error.detail).toContain('expected [a-z0-9][a-z0-9-]{0,63}');
  });

  it('cannot carry a wildcard in its device: the broker ends the connection of who tries', async () => {
    const before = site.service.counts.elsewhere.received;
    const intruder = mqtt.connect(site.broker.url, { protocolVersion: 4, reconnectPeriod: 0 });
    intruder.on('error', () => {});
    const closed = new Promise<void>((resolve) => intruder.once('close', () => resolve()));
    intruder.publish('brink/cam-+/up/frames/front', png(8, 8));
    await closed;
    await goodBeside();
    expect(site.service.counts.elsewhere.received).toBe(before);
  });

  it('that no stream takes is not lost: it is discovered, with the configuration to paste', async () => {
    const before = site.service.counts.elsewhere.rejected;
    await site.frame('cam-1', 'garden', jpeg());
    await site.frame('pump-1', 'acc', signal());
    await until(() => site.control.reports.at(-1)?.discovered.length === 2);
    const { discovered } = site.control.reports.at(-1)!;
    expect(discovered.find(({ stream }) => stream === 'garden')).toMatchObject({
      ...{
        device: 'cam-1',
        topic: 'brink/cam-1/up/frames/garden',
        type: 'image/jpeg',
        bytes: jpeg().length,
        frames: 1,
      },
      paste: expect.stringContaining('garden:\n    devices: "cam-1"\n    format: image'),
    });
    expect(discovered.find(({ stream }) => stream === 'acc')?.paste).toContain('fields: [ax, ay]');
    expect(site.service.counts.elsewhere.rejected).toBe(before + 2);
  });
});

it('so many bad frames of one device are told apart only so often, and counted always', async () => {
  const before = [
    await rejected('E_IMAGE_TYPE'),
    await site.metric(/dead_letters_dropped_total\{.*reason="rate"/),
  ] as const;
  for (let i = 0; i < 60; i++) await site.frame('cam-flood', 'front', 'nonsense');
  await goodBeside();
  expect(await rejected('E_IMAGE_TYPE')).toBe(before[0] + 60);
  const dropped = (await site.metric(/dead_letters_dropped_total\{.*reason="rate"/)) - before[1];
  expect(dropped).toBeGreaterThanOrEqual(35);
  await until(() => lettersOf('cam-flood').length === 60 - dropped);
});

const counted = (code: string | undefined) => (code === undefined ? Promise.resolve(0) : rejected(code));

/** A content type travels in MQTT 5, which the embedded broker does not speak, and over HTTP. */
async function send({ contentType }: BadInput, payload: Buffer, device: string, stream: string): Promise<void> {
  if (contentType === undefined) await site.frame(device, stream, payload);
  else await site.control.post({ device, stream, contentType }, payload).catch(() => {});
}
