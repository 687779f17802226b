import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createDevice } from '@brink/device';
import type { Ack, Command, Decision, Status } from '@brink/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { List } from '../harness/api.ts';
import { type Fleet, repository, startFleet } from '../harness/fleet.ts';

// The loop on real input: a picture in over MQTT, a decision and an action out.

const cat = readFileSync(join(repository, 'packages/device/pictures/chelsea.png'));
const coffee = readFileSync(join(repository, 'packages/device/pictures/coffee.jpg'));

let fleet: Fleet;
beforeAll(async () => {
  fleet = await startFleet();
});
afterAll(() => fleet?.[Symbol.asyncDispose]());

describe('the loop', () => {
  it('turns a photograph of a cat into "cat", a command, an ack, and an explanation from ack to frame', async () => {
    const feeder = createDevice({ url: fleet.mqttUrl, name: 'feeder-1' });
    const commands: string[] = [];
    feeder.onCommand('open', (_, { key }) => void commands.push(key));
    await feeder.start(AbortSignal.timeout(10_000));
    const client = await fleet.client();
    await client.publishAsync('brink/cam-9/up/frames/front', cat);

    const { items } = await fleet.api.until<List<Decision>>(
      '/v1/decisions?device=cam-9&pipeline=pets',
      (list) => list.items.length === 1,
    );
    expect(items[0]).toMatchObject({ device: 'cam-9', outcome: 'decided', label: 'cat', label_text: '猫' });

    const actions = await fleet.api.until<List<{ id: string; state: string }>>(
      '/v1/actions',
      (list) => list.items[0]?.state === 'acked',
    );
    const { id } = actions.items[0]!;
    expect(id).toBe(`${items[0]!.id}~cat-at-the-flap~0`);
    expect(commands).toEqual([id]);

    const explained = await fleet.api.request(`/v1/actions/${encodeURIComponent(id)}/explain`);
    expect(explained.status).toBe(200);
    for (const part of [sha256(cat), 'cat-at-the-flap', 'cifar-net', '"acked"', items[0]!.id]) {
      expect(explained.text).toContain(part);
    }
    await feeder.stop();
  });

  it('lets a picture that is no cat pass without an action', async () => {
    const client = await fleet.client();
    const before = await fleet.api.get<List<unknown>>('/v1/actions');
    await client.publishAsync('brink/cam-8/up/frames/front', coffee);
    await fleet.api.until<List<Decision>>(
      '/v1/decisions?device=cam-8&pipeline=pets',
      (list) => list.items.length === 1,
    );
    expect((await fleet.api.get<List<unknown>>('/v1/actions')).items).toHaveLength(before.items.length);
  });

  it('takes a picture over HTTP and gives its decisions back', async () => {
    const { status, json } = await fleet.api.request('/v1/frames/cam-7/front?wait_ms=10000', {
      method: 'POST',
      body: new Uint8Array(cat),
      headers: { 'content-type': 'image/png' },
    });
    expect(status).toBe(200);
    expect((json.items as Decision[]).find((decision) => decision.pipeline === 'pets')).toMatchObject({ label: 'cat' });
  });

  it('publishes each decision over MQTT, and only after it can be read over HTTP', async () => {
    const client = await fleet.client();
    await client.subscribeAsync('brink/cam-6/down/decisions/+');
    const first = new Promise<Decision>((resolve) =>
      client.once('message', (_, payload) => resolve(JSON.parse(payload.toString()) as Decision)),
    );
    await client.publishAsync('brink/cam-6/up/frames/front', cat);
    const decision = await first;
    expect(await fleet.api.get(`/v1/decisions/${decision.id}`)).toEqual(decision);
  });

  it('shows a frame on an undeclared stream as discovered, with the configuration to paste', async () => {
    const client = await fleet.client();
    await client.publishAsync('brink/cam-5/up/frames/backyard', cat);
    const { items } = await fleet.api.until<List<{ stream: string; type: string; paste: string }>>(
      '/v1/discovered',
      (list) => list.items.some((item) => item.stream === 'backyard'),
    );
    const found = items.find((item) => item.stream === 'backyard')!;
    expect(found).toMatchObject({ device: 'cam-5', type: 'image/png' });
    expect(found.paste).toContain('backyard');
  });

  it('keeps both conservation laws', async () => {
    const { laws } = await fleet.api.until<Status>('/v1/status', (status) =>
      status.laws.pipelines.items.some((item) => item.pipeline === 'pets' && item.decided >= 4 && item.pending === 0),
    );
    expect([laws.streams.holds, laws.pipelines.holds]).toEqual([true, true]);
  });

  it('lets a device carry a command out once, however often it arrives', async () => {
    const client = await fleet.client();
    const acks: Ack[] = [];
    await client.subscribeAsync('brink/feeder-2/up/acks');
    const device = createDevice({ url: fleet.mqttUrl, name: 'feeder-2' });
    let carriedOut = 0;
    device.onCommand('open', () => {
      carriedOut += 1;
    });
    await device.start(AbortSignal.timeout(10_000));
    const answered = new Promise<void>((resolve) =>
      client.on('message', (_, payload) => {
        acks.push(JSON.parse(payload.toString()) as Ack);
        if (acks.length === 2) resolve();
      }),
    );
    const control = await fleet.client({
      username: 'control',
      password: 'password-of-control',
      clientId: 'control-test',
    });
    const command = JSON.stringify({ key: 'k~r~0', expires_ms: 10_000, args: {}, because: 'k' } satisfies Command);
    await control.publishAsync('brink/feeder-2/down/commands/open', command, { qos: 1 });
    await control.publishAsync('brink/feeder-2/down/commands/open', command, { qos: 1 });
    await answered;
    expect(carriedOut).toBe(1);
    expect(acks).toEqual([
      { key: 'k~r~0', status: 200 },
      { key: 'k~r~0', status: 200 },
    ]);
    await device.stop();
  });
});

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
