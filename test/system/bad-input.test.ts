import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DeadRecord, Decision, Discovered, Status } from '@brink/protocol';
import type { IClientPublishOptions } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { List } from '../harness/api.ts';
import { type Fleet, repository, startFleet } from '../harness/fleet.ts';

// A bad frame gets its code from the one error table, moves a counter, and harms nothing beside it: here in a whole fleet, up to what
// people see. Every kind of bad input: services/gateway/test/bad-input.test.ts.

const cat = readFileSync(join(repository, 'packages/device/pictures/chelsea.jpg'));

const front = {
  ...{ devices: 'cam-*', topics: ['frigate/{device}/person/snapshot'], format: 'image', frame_bytes_max: 4194304 },
  pipelines: { pets: { model: 'cifar-net', priority: 8 } },
};

let fleet: Fleet;
beforeAll(async () => {
  fleet = await startFleet({ configuration: { version: 1, streams: { front } } });
});
afterAll(() => fleet?.[Symbol.asyncDispose]());

interface BadFrame {
  readonly what: string;
  readonly code: string;
  readonly bytes: () => Uint8Array;
  readonly options?: IClientPublishOptions;
}

const frames: readonly BadFrame[] = [
  {
    what: 'an SVG that wants a file',
    code: 'E_IMAGE_TYPE',
    bytes: () => Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'),
  },
  { what: '10 MB where 4 MiB are allowed', code: 'E_TOO_LARGE', bytes: () => Buffer.alloc(10_000_000, 7) },
];

/** These are found out only when they are decoded: their units end as `dead`, with the code. */
const undecodable: readonly BadFrame[] = [
  { what: 'a truncated JPEG', code: 'E_IMAGE_CORRUPT', bytes: () => cat.subarray(0, cat.length * 0.6) },
];

describe('a frame that cannot be decoded', () => {
  it.each(undecodable)('$what: $code', async ({ what, code, bytes }) => {
    const device = `cam-${what.toLowerCase().replace(/[^a-z0-9]+/g, '-')}`;
    const client = await fleet.client();
    await client.publishAsync(`brink/${device}/up/frames/front`, Buffer.from(bytes()), { qos: 1 });
    await client.publishAsync(`brink/${device}-good/up/frames/front`, cat, { qos: 1 });
    const { items } = await fleet.api.until<List<Decision>>(
      `/v1/decisions?device=${device}&outcome=dead`,
      (list) => list.items.length === 1,
    );
    expect(items.map(({ error }) => error!.code)).toEqual([code]);
    await fleet.api.until<List<Decision>>(
      `/v1/decisions?device=${device}-good&pipeline=pets&outcome=decided`,
      (list) => list.items[0]?.label === 'cat',
    );
    const { laws } = await fleet.api.until<Status>('/v1/status', (status) =>
      status.laws.pipelines.items.some((item) => item.pipeline === 'pets' && item.dead > 0),
    );
    expect([laws.streams.holds, laws.pipelines.holds]).toEqual([true, true]);
  });
});

describe('a bad frame', () => {
  it.each(frames)('$what: $code', async ({ what, code, bytes, options }) => {
    const device = `cam-bad-${what.toLowerCase().replace(/[^a-z0-9]+/g, '-')}`.slice(0, 40);
    const client = await fleet.client();
    await client.publishAsync(`brink/${device}/up/frames/front`, Buffer.from(bytes()), { qos: 1, ...options });
    await client.publishAsync(`brink/${device}-good/up/frames/front`, cat, { qos: 1 });

    const dead = await fleet.api.until<List<DeadRecord>>(`/v1/dead?device=${device}`, (list) => list.items.length > 0);
    expect(dead.items[0]!.error.code).toBe(code);
    expect(dead.items[0]!.error.detail.length).toBeGreaterThan(10);
    const good = await fleet.api.until<List<Decision>>(
      `/v1/decisions?device=${device}-good&pipeline=pets`,
      (list) => list.items.length > 0,
    );
    expect(good.items[0]).toMatchObject({ outcome: 'decided', label: 'cat' });
    const status = await fleet.api.until<Status>('/v1/status', ({ laws }) =>
      laws.streams.items.some((item) => item.device === device && item.rejected === 1),
    );
    expect(status.laws.streams.holds && status.laws.pipelines.holds).toBe(true);
    expect(status.dead.find((row) => row.code === code)!.count).toBeGreaterThan(0);
  });

  it('over HTTP is refused with the code and status of the table', async () => {
    const { status, json, headers } = await fleet.api.request('/v1/frames/cam-http/front?wait_ms=5000', {
      method: 'POST',
      body: 'no picture',
      headers: { 'content-type': 'application/octet-stream' },
    });
    expect(status).toBe(415);
    expect(headers.get('content-type')).toMatch(/^application\/problem\+json/);
    expect(json).toMatchObject({ status: 415, code: 'E_IMAGE_TYPE' });
  });

  it('that is retained is neither decided nor kept by the broker', async () => {
    const client = await fleet.client();
    await client.publishAsync('brink/cam-retained/up/frames/front', cat, { qos: 0, retain: true }).catch(() => {});
    const other = await fleet.client();
    await other.publishAsync('brink/cam-after/up/frames/front', cat, { qos: 1 });
    await fleet.api.until<List<Decision>>('/v1/decisions?device=cam-after', (list) => list.items.length > 0);
    const late = await fleet.client();
    const seen: string[] = [];
    late.on('message', (topic) => seen.push(topic));
    await late.subscribeAsync('brink/+/up/frames/#');
    await late.publishAsync('brink/cam-marker/up/frames/front', cat, { qos: 1 });
    await fleet.api.until<List<Decision>>('/v1/decisions?device=cam-marker', (list) => list.items.length > 0);
    expect(seen).not.toContain('brink/cam-retained/up/frames/front');
    expect((await fleet.api.get<List<Decision>>('/v1/decisions?device=cam-retained')).items).toEqual([]);
  });

  it('from a device whose name is none is refused by name over HTTP, and by the broker over MQTT', async () => {
    const { status, json } = await fleet.api.request('/v1/frames/Cam%2B1/front', {
      method: 'POST',
      body: new Uint8Array(cat),
    });
    expect(status).toBe(400);
    expect(['E_NAME', 'E_BAD_REQUEST']).toContain(json.code);
    const client = await fleet.client({ reconnectPeriod: 0 });
    const closed = new Promise((resolve) => client.once('close', () => resolve(true)));
    client.publish('brink/cam+1/up/frames/front', cat);
    expect(await closed).toBe(true);
  });
});

describe("another system's topic", () => {
  it('is heard because the stream names it, and its device is called by rule', async () => {
    const client = await fleet.client();
    await client.publishAsync('frigate/CAM Porch/person/snapshot', cat, { qos: 1, retain: true });
    const { items } = await fleet.api.until<List<Decision>>(
      '/v1/decisions?device=cam-porch&outcome=decided',
      (list) => list.items.length > 0,
    );
    expect(items[0]).toMatchObject({ stream: 'front', label: 'cat' });
    await client.publishAsync('frigate/Yard/person/snapshot', cat, { qos: 1 });
    const found = await fleet.api.until<List<Discovered>>('/v1/discovered', (list) =>
      list.items.some(({ device }) => device === 'yard'),
    );
    const { paste } = found.items.find(({ device }) => device === 'yard')!;
    expect(paste).toContain('# streams.front takes the devices "cam-*" alone; to take yard too, change its line to');
  });
});
