import { BrinkError, CommandSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { items, outcome, published, site } from '../ledger/ledger.testing.ts';
import { actionId as id, openFleet } from './dispatcher.testing.ts';

describe('a command', () => {
  it('is published with its key, what remains of its life, its args and its reason', async () => {
    await using fleet = await openFleet();
    await fleet.ledger.commit(items(outcome(1)));
    await expect.poll(() => fleet.broker.arrived.length).toBe(1);
    const [message] = fleet.broker.arrived;
    expect(message?.topic).toBe('brink/feeder-1/down/commands/open');
    expect(CommandSchema.parse(JSON.parse(message?.payload ?? ''))).toEqual({
      ...{ key: id(1), expires_ms: 10_000, args: { portion: 2 }, because: 'cam-1.front.k3v9.1.0.pets' },
    });
  });

  it('is sent again with the same key and body until its ack comes', async () => {
    await using fleet = await openFleet();
    await fleet.ledger.commit(items(outcome(1)));
    await expect.poll(() => fleet.state(id(1))).toBe('sent');
    fleet.clock.shift(2501);
    await expect.poll(() => fleet.broker.arrived.length).toBe(2);
    const [first, second] = fleet.broker.arrived.map(({ payload }) => JSON.parse(payload));
    expect(second).toEqual({ ...first, expires_ms: 10_000 - 2501 });
    await fleet.ledger.ack('feeder-1', { key: id(1), status: 200 });
    await expect.poll(() => fleet.dispatcher.stats).toEqual({ inFlight: 0, sent: 2, failed: 0, refused: 0 });
    fleet.clock.shift(60_000);
    expect(await fleet.state(id(1))).toBe('acked');
    expect(fleet.broker.arrived).toHaveLength(2);
  });

  it('expires when no ack comes', async () => {
    await using fleet = await openFleet();
    await fleet.ledger.commit(items(outcome(1)));
    await expect.poll(() => fleet.state(id(1))).toBe('sent');
    fleet.clock.shift(10_001);
    await expect.poll(() => fleet.state(id(1))).toBe('expired');
    expect((await fleet.ledger.read.action(id(1)))?.error?.detail).toContain('before an ack came');
  });

  it('that asks for no ack has ended when the broker has it', async () => {
    await using fleet = await openFleet({
      flap: { does: [{ command: { device: 'feeder-1', name: 'open', ack: 'none' } }] },
    });
    await fleet.ledger.commit(items(outcome(1)));
    await expect.poll(async () => (await fleet.ledger.read.action(id(1)))?.ended_at).toBeDefined();
    expect(await fleet.state(id(1))).toBe('sent');
  });
});

describe('a broker', () => {
  it('that refuses is tried again, later and later', async () => {
    await using fleet = await openFleet();
    fleet.broker.answer(() => Promise.reject(new BrinkError('E_BROKER', 'connection lost')));
    await fleet.ledger.commit(items(outcome(1)));
    // Full jitter with 0.5: 100, 200, 400 ms …
    for (const [attempt, waitMs] of [100, 200, 400].entries()) {
      await expect
        .poll(async () => [fleet.broker.arrived.length, await fleet.state(id(1))])
        .toEqual([attempt + 1, 'pending']);
      fleet.clock.shift(waitMs);
    }
    fleet.broker.answer(async () => {});
    await expect.poll(() => fleet.broker.arrived.length).toBeGreaterThanOrEqual(4);
    const explained = await fleet.ledger.read.explainAction(id(1));
    expect(explained?.attempts[0]).toMatchObject({ result: 'failed', error: { code: 'E_BROKER' } });
  });

  it('that is away gets nothing; what it missed is sent when it is back', async () => {
    await using fleet = await openFleet();
    fleet.broker.connect(false);
    await fleet.ledger.commit(items(outcome(1)));
    await expect.poll(() => fleet.state(id(1))).toBe('pending');
    expect(fleet.broker.arrived).toEqual([]);
    fleet.broker.connect(true);
    await expect.poll(() => fleet.state(id(1))).toBe('sent');
    expect((await fleet.ledger.read.action(id(1)))?.attempts).toBe(1);
  });

  it('that is away for too long makes actions expire', async () => {
    await using fleet = await openFleet();
    fleet.broker.connect(false);
    await fleet.ledger.commit(items(outcome(1)));
    await expect.poll(() => fleet.state(id(1))).toBe('pending');
    fleet.clock.shift(10_001);
    await expect.poll(() => fleet.state(id(1))).toBe('expired');
    expect(fleet.broker.arrived).toEqual([]);
  });

  it('that is back hands over the acks that it kept, before anything is sent again', async () => {
    await using fleet = await openFleet();
    await fleet.ledger.commit(items(outcome(1)));
    await expect.poll(() => fleet.state(id(1))).toBe('sent');
    fleet.broker.connect(false);
    fleet.clock.shift(4000);
    fleet.broker.connect(true);
    fleet.clock.shift(1000);
    await fleet.ledger.commit(items(outcome(2, { device: 'cam-2' })));
    // The new one leaves at once, the old one waits for its ack.
    await expect.poll(() => fleet.broker.arrived.length).toBe(2);
    expect(JSON.parse(fleet.broker.arrived[1]?.payload ?? '').key).toContain('cam-2');
    await fleet.ledger.ack('feeder-1', { key: id(1), status: 200 });
    fleet.clock.shift(501);
    await fleet.ledger.ack('feeder-1', { key: id(2).replace('cam-1', 'cam-2'), status: 200 });
    await expect.poll(() => fleet.ledger.read.actionCounts()).toEqual({ acked: 2 });
    expect(fleet.broker.arrived).toHaveLength(2);
  });

  it('that is back and kept no ack: the command is sent again, a little later', async () => {
    await using fleet = await openFleet();
    await fleet.ledger.commit(items(outcome(1)));
    await expect.poll(() => fleet.state(id(1))).toBe('sent');
    fleet.broker.connect(false);
    fleet.clock.shift(4000);
    fleet.broker.connect(true);
    // Whatever the clock on the wall says meanwhile.
    fleet.clock.set(-3_600_000);
    fleet.clock.shift(1501);
    await expect.poll(() => fleet.broker.arrived.length).toBe(2);
  });

  it('that never answers does not hold an attempt for ever', async () => {
    await using fleet = await openFleet({ flap: {} }, { sendMsMax: 5000 });
    fleet.broker.answer(() => new Promise(() => {}));
    await fleet.ledger.commit(items(outcome(1)));
    await expect.poll(() => fleet.dispatcher.stats.inFlight).toBe(1);
    fleet.clock.shift(5000);
    await expect.poll(() => fleet.dispatcher.stats.failed).toBe(1);
  });

  it('never has more than the limit at once', async () => {
    await using fleet = await openFleet({ flap: { by: ['device', 'label'] } }, { inFlightMax: 3 });
    const waiting: (() => void)[] = [];
    fleet.broker.answer(() => new Promise((resolve) => waiting.push(resolve)));
    const result = (label: string) => ({ task: 'classification' as const, label, score: 0.9 });
    await fleet.ledger.configure(published(site({ flap: { when: 'true', by: ['device', 'label'] } }), 'aaaaaaaaaaaa'));
    await fleet.ledger.commit(
      items(...Array.from({ length: 10 }, (_, index) => outcome(index + 1, { result: result(`l${index}`) }))),
    );
    for (let done = 0; done < 10; done++) {
      await expect.poll(() => waiting.length).toBeGreaterThan(0);
      expect(fleet.dispatcher.stats.inFlight).toBeLessThanOrEqual(3);
      waiting.shift()?.();
    }
    await expect.poll(() => fleet.dispatcher.stats).toMatchObject({ sent: 10, inFlight: 0 });
  });
});

describe('an mqtt action', () => {
  const lamp = {
    mqtt: { topic: 'zigbee2mqtt/lamp/set', payload: { state: 'ON', by: '${decision.label}' }, retain: true },
  };

  it('is published as it is configured, templates filled in', async () => {
    await using fleet = await openFleet({
      flap: { does: [lamp, { mqtt: { topic: 'zigbee2mqtt/a', payload: 'plain' } }] },
    });
    await fleet.ledger.commit(items(outcome(1)));
    await expect.poll(() => fleet.broker.arrived.length).toBe(2);
    expect(fleet.broker.arrived).toEqual([
      { topic: 'zigbee2mqtt/lamp/set', payload: '{"state":"ON","by":"cat"}', retain: true },
      { topic: 'zigbee2mqtt/a', payload: 'plain', retain: false },
    ]);
    await expect.poll(() => fleet.state(id(1))).toBe('sent');
  });

  it('outside of mqtt_allow is dead, and nothing is published', async () => {
    await using fleet = await openFleet({ flap: { does: [lamp] } }, {}, { mqttAllow: ['other/'] });
    await fleet.ledger.commit(items(outcome(1)));
    await expect.poll(() => fleet.state(id(1))).toBe('dead');
    expect((await fleet.ledger.read.action(id(1)))?.error?.code).toBe('E_FORBIDDEN');
    expect(fleet.broker.arrived).toEqual([]);
  });
});
