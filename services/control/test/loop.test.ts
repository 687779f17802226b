import { type Command, DecisionSchema, DeviceStateSchema, StatusSchema } from '@brink/protocol';
import { describe, expect, test } from 'vitest';
import { type Control, outcome, startControl, until } from './harness.ts';

const now = (seq: number, fields = {}) => outcome(seq, { received_ms: Date.now(), ...fields });
const parsed = (message: { payload: Buffer } | undefined) => JSON.parse(String(message?.payload));

describe('an outcome', () => {
  test('becomes a decision over HTTP, on the feed and in the events, all the same', async () => {
    await using control = await startControl();
    const feed = await control.listen('brink/+/down/decisions/+');
    const events = await control.events('/v1/events');
    const { count, refused } = await control.commit(now(1));
    expect([count, refused]).toEqual([1, []]);

    const { body } = await control.get('/v1/decisions?limit=1');
    const [decision] = body.items.map((item: unknown) => DecisionSchema.parse(item));
    expect(decision).toMatchObject({
      n: 1,
      id: 'cam-1.front.k3v9.1.0.pets',
      label: 'cat',
      label_text: '猫',
      outcome: 'decided',
    });

    const [message] = await until('the feed', () => feed.length > 0 && feed);
    expect(message).toMatchObject({ topic: 'brink/cam-1/down/decisions/front', retain: false });
    expect(parsed(message)).toEqual(decision);
    const [event] = await until('the event', () => events.seen.length > 0 && events.seen);
    expect(event).toEqual({ event: 'decision', id: 1, data: decision });
    events.close();
    const one = await control.get(`/v1/decisions/${decision.id}`);
    expect(one.body).toEqual(decision);
    const explained = await control.get(`/v1/decisions/${decision.id}/explain`);
    expect(explained.body).toMatchObject({ decision, evidence: { frame: { sha256: 'f'.repeat(64) } } });
  });

  test('that is sent again is answered committed, and is one row', async () => {
    await using control = await startControl();
    const feed = await control.listen('brink/+/down/decisions/+');
    const batch = [now(1), now(2)];
    expect((await control.commit(...batch)).count).toBe(2);
    expect((await control.commit(...batch)).count).toBe(2);
    expect((await control.commit(...batch, now(3))).count).toBe(3);
    const { body } = await control.get('/v1/decisions');
    expect(body.items.map((item: { frames: { last: number } }) => item.frames.last)).toEqual([3, 2, 1]);
    await until('the feed', () => feed.length >= 3);
    expect(feed).toHaveLength(3);
  });

  test('that is not as it should be is refused by itself; its neighbours are committed', async () => {
    await using control = await startControl();
    const { count, refused } = await control.commit(now(1), { ...now(2), device: 'Not A Name' }, now(3));
    expect(count).toBe(2);
    expect(refused.map(({ index, failure }) => [index, failure?.code])).toEqual([[1, 'E_BAD_REQUEST']]);
    expect(refused[0]?.failure?.detail).toContain('device');
    expect((await control.get('/v1/decisions')).body.items).toHaveLength(2);
  });

  test('survives control', async () => {
    await using first = await startControl();
    await first.commit(now(1));
    await first.service.stop();
    await using second = await startControl({ folder: first.folder });
    expect((await second.get('/v1/decisions')).body.items).toHaveLength(1);
    expect((await second.commit(now(1))).count).toBe(1);
    expect((await second.get('/v1/decisions')).body.items).toHaveLength(1);
    expect((await second.get('/v1/status')).body.ledger.n).toBe(1);
  });
});

async function fireRule(control: Control) {
  const commands = await control.listen('brink/feeder-1/down/commands/+');
  await control.commit(now(1));
  const [message] = await until('the command', () => commands.length > 0 && commands);
  return { command: parsed(message) as Command, topic: message?.topic, commands };
}

describe('a rule', () => {
  test('sends a command, takes the ack, and the action explains itself back to the frame', async () => {
    await using control = await startControl();
    const events = await control.events('/v1/events');
    const { command, topic, commands } = await fireRule(control);
    expect(topic).toBe('brink/feeder-1/down/commands/open');
    expect(command).toMatchObject({
      key: 'cam-1.front.k3v9.1.0.pets~cat-at-the-flap~0',
      args: { grams: 20 },
      because: 'cam-1.front.k3v9.1.0.pets',
    });
    await control.publish('brink/feeder-1/up/acks', { key: command.key, status: 200 });
    const path = `/v1/actions/${encodeURIComponent(command.key)}`;
    await until('the ack', async () => (await control.get(path)).body.state === 'acked');
    expect((await control.get(`${path}/explain`)).body).toMatchObject({
      action: { id: command.key, state: 'acked' },
      ack: { status: 200 },
      because: { rule: 'cat-at-the-flap', condition: { holds: true }, before: 'idle', after: 'active' },
      decision: { id: 'cam-1.front.k3v9.1.0.pets', label: 'cat' },
      model: { name: 'cifar-net', version: 3, passport_sha256: 'a'.repeat(64), model_sha256: 'b'.repeat(64) },
      frame: { sha256: 'f'.repeat(64), gateway: 'gateway-1' },
    });
    await until('the action in the events', () =>
      events.seen.some(({ event, data }) => event === 'action' && data.state === 'acked'),
    );
    events.close();
    expect(commands).toHaveLength(1);
    expect((await control.get('/v1/actions?state=acked&rule=cat-at-the-flap')).body.items).toHaveLength(1);
    expect((await control.get('/v1/rules/cat-at-the-flap/state')).body.keys).toMatchObject([{ state: 'active' }]);
    expect((await control.get('/v1/rules')).body.items).toMatchObject([
      { name: 'cat-at-the-flap', on: 'pets', keys: [{ state: 'active' }] },
    ]);
  });

  test('is not fired twice by an outcome that is sent twice', async () => {
    await using control = await startControl();
    const { commands } = await fireRule(control);
    await control.commit(now(1));
    await control.commit(now(2, { pipeline: 'article' }));
    expect((await control.get('/v1/actions')).body.items).toHaveLength(1);
    expect(commands).toHaveLength(1);
  });

  test('takes an ack from the device alone that the command went to', async () => {
    await using control = await startControl();
    const { command } = await fireRule(control);
    await control.publish('brink/other-1/up/acks', { key: command.key, status: 200 });
    const metrics = async () => (await fetch(`http://127.0.0.1:${control.service.addresses.ops.port}/metrics`)).text();
    await until('the foreign ack is counted', async () =>
      /acks_total\{outcome="foreign"[^}]*\} 1/.test(await metrics()),
    );
    expect((await control.get(`/v1/actions/${encodeURIComponent(command.key)}`)).body.state).not.toBe('acked');
  });

  test('counts acks that are none, and those of nothing', async () => {
    await using control = await startControl();
    const acks = 'brink/feeder-1/up/acks';
    await control.publish(acks, 'ok');
    await control.publish(acks, { key: 'x', status: 'fine' });
    await control.publish(acks, { key: 'of-no-action', status: 200 });
    const metrics = async () => (await fetch(`http://127.0.0.1:${control.service.addresses.ops.port}/metrics`)).text();
    await until('both kinds are counted', async () => {
      const text = await metrics();
      return (
        /acks_total\{outcome="malformed"[^}]*\} 2/.test(text) && /acks_total\{outcome="unknown"[^}]*\} 1/.test(text)
      );
    });
  });

  test('leaves room for orders by hand: 202, the action, its command, its ack', async () => {
    await using control = await startControl();
    const commands = await control.listen('brink/feeder-1/down/commands/+');
    const ordered = await control.post('/v1/devices/feeder-1/commands', { name: 'open', args: { grams: 5 } });
    expect(ordered.status).toBe(202);
    const [message] = await until('the command', () => commands.length > 0 && commands);
    expect(parsed(message)).toMatchObject({ key: ordered.body.id, args: { grams: 5 } });
    await control.publish('brink/feeder-1/up/acks', { key: ordered.body.id, status: 409, error: 'jammed' });
    const path = ordered.headers.get('location') ?? '';
    await until('it is refused', async () => (await control.get(path)).body.state === 'dead');
    expect((await control.get(path)).body).toMatchObject({
      error: { code: 'E_ACTION_REFUSED' },
      ack: { status: 409, error: 'jammed' },
    });
    expect((await control.post(`${path}/retry`)).body.state).toMatch(/pending|leased|sent/);
    expect((await control.post(`${path}/cancel`)).body.state).toBe('cancelled');
    expect((await control.post(`${path}/cancel`)).status).toBe(409);
  });
});

describe('every end of an action', () => {
  const order = (control: Control, expires_ms: number) =>
    control.post('/v1/devices/feeder-1/commands', { name: 'open', args: {}, expires_ms });

  test('is in the events, once: expired, cancelled, refused', async () => {
    await using control = await startControl();
    const events = await control.events('/v1/events');
    const ends = () =>
      events.seen
        .filter(({ event, data }) => event === 'action' && data.ended_at !== undefined)
        .map(({ data }) => data);
    const ended = (id: string) => until('the end in the events', () => ends().find((action) => action.id === id));

    const expired = (await order(control, 100)).body.id;
    expect(await ended(expired)).toMatchObject({ state: 'expired', error: { code: 'E_ACTION_EXPIRED' } });
    const cancelled = (await order(control, 60_000)).body.id;
    await control.post(`/v1/actions/${encodeURIComponent(cancelled)}/cancel`);
    expect(await ended(cancelled)).toMatchObject({ state: 'cancelled' });
    const refused = (await order(control, 60_000)).body.id;
    await control.publish('brink/feeder-1/up/acks', { key: refused, status: 409 });
    expect(await ended(refused)).toMatchObject({ state: 'dead', ack: { status: 409 } });

    // What comes later comes behind any repetition.
    await control.commit(now(1));
    await until('the decision', () => events.seen.some(({ event }) => event === 'decision'));
    expect(ends().map(({ id }) => id)).toEqual([expired, cancelled, refused]);
    events.close();
  });
});

describe('what is retained', () => {
  test('is the configuration, published again after a broker came back empty', async () => {
    await using control = await startControl();
    const revision = (await control.get('/v1/config')).body.revision;
    const first = await control.listen('brink/fleet/#');
    const config = () => first.find(({ topic }) => topic === 'brink/fleet/config');
    expect(parsed(await until('the configuration', config))).toMatchObject({
      revision,
      configuration: { site: { name: 'plant-7' } },
    });
    await control.restartBroker();
    await until('control is connected again', () => control.service.problems().length === 0);
    const second = await control.listen('brink/fleet/#', 'after');
    const again = await until('the configuration again', () =>
      second.find(({ topic }) => topic === 'brink/fleet/config'),
    );
    expect(parsed(again).revision).toBe(revision);
    await until('its status again', () => second.find(({ topic }) => topic === 'brink/fleet/control/control-1'));
    const third = await control.listen('brink/fleet/config', 'later');
    expect((await until('it is retained', () => third[0])).retain).toBe(true);
  });

  test('is the state of a device, with every key always there', async () => {
    await using control = await startControl();
    await control.commit(now(1));
    const states = await control.listen('brink/+/state');
    const message = await until('the state', () =>
      states.find(({ payload }) => parsed({ payload }).rules['cat-at-the-flap'] === 'active'),
    );
    const state = DeviceStateSchema.parse(parsed(message));
    expect(Object.keys(state.decisions)).toEqual(['pets', 'article']);
    expect(state.decisions['pets']?.label).toBe('cat');
    expect(state.decisions['article']).toBeNull();
    expect((await control.get('/v1/devices/cam-1/state')).body).toEqual(state);
  });

  test('says offline when control stops', async () => {
    await using control = await startControl();
    const fleet = await control.listen('brink/fleet/control/+');
    await until('online', () => fleet.some((message) => parsed(message).state === 'online'));
    await control.service.stop();
    await until('offline', () => fleet.some((message) => parsed(message).state === 'offline'));
  });
});

describe('the status', () => {
  test('shows services, both laws and what the ledger holds', async () => {
    await using control = await startControl();
    await control.commit(now(1));
    const stream = {
      device: 'cam-1',
      stream: 'front',
      received: 10,
      accepted: 4,
      duplicate: 1,
      rejected: 2,
      dropped: 3,
      last_at_ms: Date.now(),
    };
    const pipeline = { pipeline: 'pets', formed: 4, decided: 1, expired: 1, dead: 0, dropped: 1, pending: 1 };
    await control.report({ streams: [stream], pipelines: [pipeline] });
    const status = StatusSchema.parse((await control.get('/v1/status')).body);
    expect(status).toMatchObject({ site: 'plant-7', ready: true, problems: [], ledger: { n: 1, problem: null } });
    expect(status.laws.streams).toMatchObject({
      holds: true,
      items: [{ gateway: 'gateway-1', holds: true, received: 10 }],
    });
    expect(status.laws.pipelines).toMatchObject({ holds: true, items: [{ pipeline: 'pets', holds: true }] });
    expect(status.services.map(({ service, state }) => [service, state])).toEqual([['control', 'online']]);
    expect(status.ledger.committed).toMatchObject([{ device: 'cam-1', pipeline: 'pets', decided: 1 }]);

    // One frame that is not accounted for: the law says so.
    await control.report({ streams: [{ ...stream, received: 11 }], pipelines: [pipeline] });
    expect((await control.get('/v1/status')).body.laws).toMatchObject({
      streams: { holds: false },
      pipelines: { holds: true },
    });
  });

  test('is not ready while a service says that it is not', async () => {
    await using control = await startControl();
    const gateway = { service: 'gateway', instance: 'gateway-1', state: 'online' };
    const problem = 'inference does not serve "my-model"';
    const say = (what: object) =>
      control.publish('brink/fleet/gateway/gateway-1', { ...gateway, ...what }, true, 'gateway');
    await say({ ready: false, problems: [problem] });
    const status = async () => (await control.get('/v1/status')).body;
    await until('it is not ready', async () => !(await status()).ready);
    expect(await status()).toMatchObject({ ready: false, problems: [`gateway-1: ${problem}`] });
    await say({ ready: true, problems: [] });
    await until('it is ready', async () => (await status()).ready);
    expect((await status()).problems).toEqual([]);
  });

  test('lists devices that publish, connect or were added', async () => {
    await using control = await startControl();
    await control.commit(now(1));
    await control.publish('brink/feeder-1/up/status', { state: 'online' }, true);
    const discovered = {
      device: 'cam-7',
      stream: 'back',
      topic: 'brink/cam-7/up/frames/back',
      type: 'image/jpeg',
      bytes: 10,
      frames: 1,
      per_s: 0,
      last_at_ms: Date.now(),
      paste: 'streams: …',
    };
    await control.report({ discovered: [discovered] });
    expect((await control.post('/v1/devices', { name: 'cam-9', note: 'porch' })).status).toBe(201);
    const names = async () =>
      (await control.get('/v1/devices')).body.items.map(({ name }: { name: string }) => name).sort();
    await until('all are known', async () => (await names()).length === 4);
    expect(await names()).toEqual(['cam-1', 'cam-7', 'cam-9', 'feeder-1']);
    expect((await control.get('/v1/devices/feeder-1')).body.state).toBe('online');
    expect((await control.get('/v1/discovered')).body.items).toEqual([discovered]);
    // Nothing was decided of its frames; it was seen all the same.
    const lastSeen = new Date(discovered.last_at_ms).toISOString();
    expect((await control.get('/v1/devices/cam-7')).body.last_seen).toBe(lastSeen);
    expect((await control.get('/v1/devices/cam-9')).body.last_seen).toBeUndefined();
    expect((await control.post('/v1/devices', { name: 'cam-9' })).body.code).toBe('E_CONFLICT');
    expect((await control.post('/v1/devices/cam-9/credentials')).body).toMatchObject({ needed: false });
    expect((await control.delete('/v1/devices/cam-9')).status).toBe(204);
    expect((await control.get('/v1/devices/cam-9')).status).toBe(404);
  });
});
