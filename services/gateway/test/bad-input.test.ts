import mqtt from 'mqtt';
import { describe, expect, it } from 'vitest';
import { jpeg, png } from './harness/pictures.ts';
import { expectLaws, type Site, startSite, until } from './harness/site.ts';

/** Sends something bad between two good frames of another device, and sees that these are decided. */
async function besideGoodFrames(site: Site, bad: () => Promise<unknown>): Promise<void> {
  const decided = () =>
    site.control.outcomes.filter(({ device, outcome }) => device === 'cam-good' && outcome === 'decided');
  const before = decided().length;
  await site.frame('cam-good', 'front', png(8, 8));
  await until(() => decided().length === before + 1, 'the good frame before');
  await bad();
  await site.frame('cam-good', 'front', png(8, 8));
  await until(() => decided().length === before + 2, 'the good frame after');
  expectLaws(site);
}

const rejected = (site: Site, code: string) => site.metric(new RegExp(`frames_rejected_total\\{.*code="${code}"`));

describe('a frame that is refused by name', () => {
  it('becomes a dead letter with the code and the hash, and a counter moves', async () => {
    await using site = await startSite();
    await site.ready();
    const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>');
    const cases: [name: string, topic: string, payload: Buffer, code: string][] = [
      ['not a picture', 'brink/cam-1/up/frames/front', Buffer.from('hello'), 'E_IMAGE_TYPE'],
      ['an SVG', 'brink/cam-2/up/frames/front', svg, 'E_IMAGE_TYPE'],
      ['an empty payload', 'brink/cam-3/up/frames/front/k3v9-1', Buffer.alloc(0), 'E_EMPTY'],
      ['10 MB', 'brink/cam-4/up/frames/front', Buffer.alloc(10_000_000, 1), 'E_TOO_LARGE'],
      ['a device name with capitals', 'brink/CAM_5/up/frames/front', png(8, 8), 'E_NAME'],
      ['a frame id that is none', 'brink/cam-6/up/frames/front/latest', png(8, 8), 'E_TOPIC'],
    ];
    for (const [name, topic, payload, code] of cases) {
      const letters = site.control.letters.length;
      const before = await rejected(site, code);
      await besideGoodFrames(site, () => site.publish(topic, payload));
      await until(() => site.control.letters.length === letters + 1, name);
      expect(site.control.letters.at(-1), name).toMatchObject({ error: { code }, bytes: payload.length });
      expect(await rejected(site, code), name).toBe(before + 1);
    }
    expect(site.service.counts.frames('cam-3', 'front')).toMatchObject({ received: 1, rejected: 1 });
  });

  it('cannot carry a wildcard in its device: the broker ends the connection of who tries', async () => {
    await using site = await startSite();
    await site.ready();
    await besideGoodFrames(site, async () => {
      const intruder = mqtt.connect(site.broker.url, { protocolVersion: 4, reconnectPeriod: 0 });
      intruder.on('error', () => {});
      const closed = new Promise<void>((resolve) => intruder.once('close', () => resolve()));
      intruder.publish('brink/cam-+/up/frames/front', png(8, 8));
      await closed;
    });
    expect(site.service.counts.elsewhere.received).toBe(0);
  });

  it('is told apart only so often per device, and counted always', async () => {
    await using site = await startSite();
    await site.ready();
    await besideGoodFrames(site, async () => {
      for (let i = 0; i < 60; i++) await site.frame('cam-flood', 'front', 'nonsense');
    });
    expect(await rejected(site, 'E_IMAGE_TYPE')).toBe(60);
    expect(await site.metric(/dead_letters_dropped_total\{.*reason="rate"/)).toBeGreaterThanOrEqual(35);
    expect(site.control.letters.length).toBeLessThan(30);
  });

  it('on an undeclared stream is not lost: it is discovered, with the configuration to paste', async () => {
    await using site = await startSite();
    await site.ready();
    await besideGoodFrames(site, async () => {
      await site.frame('cam-1', 'garden', jpeg());
      await site.frame('dev-1', 'front', jpeg());
    });
    await until(() => site.control.reports.some(({ discovered }) => discovered.length === 2));
    const { discovered } = site.control.reports.at(-1)!;
    expect(discovered.find(({ stream }) => stream === 'garden')).toMatchObject({
      device: 'cam-1',
      topic: 'brink/cam-1/up/frames/garden',
      type: 'image/jpeg',
      bytes: jpeg().length,
      frames: 1,
      paste: expect.stringContaining('garden:\n    devices: "cam-1"\n    format: image'),
    });
    expect(site.service.counts.elsewhere).toMatchObject({ received: 2, rejected: 2 });
  });
});

describe('a frame that turns out to be bad', () => {
  it('ends as a dead outcome with the code, for every unit of it', async () => {
    await using site = await startSite();
    await site.ready();
    const photograph = jpeg();
    const cases: [name: string, device: string, stream: string, payload: Buffer, code: string][] = [
      ['a truncated JPEG', 'cam-1', 'front', photograph.subarray(0, photograph.length * 0.6), 'E_IMAGE_CORRUPT'],
      ['a PNG of 16,000 × 16,000', 'cam-2', 'front', png(16_000, 16_000, [0, 0, 0], 1), 'E_IMAGE_PIXELS'],
      ['a tensor of another size', 'dev-3', 'raw', Buffer.alloc(47), 'E_SHAPE'],
    ];
    for (const [name, device, stream, payload, code] of cases) {
      await besideGoodFrames(site, () => site.frame(device, stream, payload, 'k3v9-1'));
      const outcome = () => site.control.outcomes.find((one) => one.device === device);
      await until(() => outcome() !== undefined, name);
      expect(outcome(), name).toMatchObject({ outcome: 'dead', error: { code }, evidence: { attempts: 0 } });
    }
    expect(await site.metric(/units_total\{.*pipeline="pets",fate="dead"/)).toBe(2);
  });
});
