import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Configuration, TargetSchema } from '@brink/protocol';
import { systemClock } from '@brink/runtime';
import { afterEach, describe, expect, it } from 'vitest';
import { items, outcome } from '../ledger/ledger.testing.ts';
import { actionId, openFleet } from './dispatcher.testing.ts';
import { createHttpOut } from './http-out.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** A receiver of webhooks: what arrived, by id, and how it answers. */
async function receiver(answer: (arrived: number) => number | undefined) {
  const arrived: { id: string; body: string }[] = [];
  const listener: RequestListener = async (request, response) => {
    let body = '';
    for await (const piece of request) body += String(piece);
    arrived.push({ id: String(request.headers['webhook-id']), body });
    const status = answer(arrived.length);
    if (status !== undefined) response.writeHead(status).end();
  };
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    arrived,
    hangUp: () => server.closeAllConnections(),
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
  };
}

const targetsOf = (urls: Record<string, string>): Configuration['targets'] =>
  Object.fromEntries(
    Object.entries(urls).map(([name, webhook]) => [name, TargetSchema.parse({ webhook, allow_private: true })]),
  );

/** A rule that sends every cat to the targets, in this order. */
function openHooks(urls: Record<string, string>, does?: object[], o: Parameters<typeof openFleet>[2] = {}) {
  const http = createHttpOut({}, { clock: systemClock });
  closing.push(() => http.stop());
  const webhooks = Object.keys(urls).map((target) => ({
    webhook: { target, body: { text: '${decision.label}' }, expires_ms: 600_000 },
  }));
  const rule = { when: 'true', by: ['device', 'label'], stale_ms_max: 600_000, does: does ?? webhooks };
  return openFleet({ flap: rule }, {}, { ...o, http: { http }, targets: targetsOf(urls) });
}

const labelled = (seq: number) => outcome(seq, { result: { task: 'classification', label: `l${seq}`, score: 0.9 } });
const many = (from: number, count: number) => items(...Array.from({ length: count }, (_, at) => labelled(from + at)));

describe('a receiver', () => {
  it('that fails several times and then takes it has it once, under its key', async () => {
    const duty = await receiver((n) => (n <= 4 ? 500 : 200));
    await using fleet = await openHooks({ duty: duty.url });
    await fleet.ledger.commit(many(1, 1));
    for (let attempt = 1; attempt <= 4; attempt++) {
      await expect.poll(async () => (await fleet.ledger.read.action(actionId(1)))?.error?.code).toBe('E_UNAVAILABLE');
      await expect.poll(() => fleet.dispatcher.stats.failed).toBe(attempt);
      await expect.poll(() => fleet.state(actionId(1))).toBe('pending');
      // Full jitter with 0.5: 2.5, 5, 10, 20 s.
      fleet.clock.shift(2500 * 2 ** (attempt - 1));
    }
    await expect.poll(() => fleet.state(actionId(1))).toBe('acked');
    const action = await fleet.ledger.read.action(actionId(1));
    expect(action).toMatchObject({ attempts: 5, target: 'duty', kind: 'webhook', ack: { status: 200 } });
    expect(new Set(duty.arrived.map((one) => JSON.stringify(one)))).toEqual(
      new Set([JSON.stringify({ id: actionId(1), body: '{"text":"l1"}' })]),
    );
  });

  it('that does not answer holds up neither another nor a command', async () => {
    const dead = await receiver(() => undefined);
    const alive = await receiver(() => 200);
    await using fleet = await openHooks({ dead: dead.url, alive: alive.url }, [
      { webhook: { target: 'dead', body: {} } },
      { webhook: { target: 'alive', body: {} } },
      { command: { device: 'feeder-1', name: 'open', ack: 'none' } },
    ]);
    await fleet.ledger.commit(many(1, 60));
    await expect.poll(() => alive.arrived.length, { timeout: 10_000 }).toBe(60);
    await expect.poll(() => fleet.broker.arrived.length, { timeout: 10_000 }).toBe(60);
    // As many as one target may have, and no more.
    expect(dead.arrived).toHaveLength(4);
    expect(fleet.dispatcher.targets()).toMatchObject({ dead: { inFlight: 4 }, alive: { state: 'closed' } });
    const stopped = fleet.dispatcher.stop();
    dead.hangUp();
    await stopped;
  });

  it('whose time is up while the ledger is asked what is due is tried then, not a minute later', async () => {
    let [well, leaseMs] = [false, 0];
    const duty = await receiver(() => (well ? 200 : 503));
    const slow = { random: () => 0.5001, leaseTakesMs: () => leaseMs };
    await using fleet = await openHooks({ duty: duty.url }, undefined, slow);
    await fleet.ledger.commit(many(1, 8));
    await expect.poll(() => fleet.ledger.read.actionCounts()).toEqual({ pending: 8 });
    await expect.poll(() => fleet.dispatcher.targets()).toMatchObject({ duty: { state: 'open', inFlight: 0 } });
    // The wait has 5000.2 ms, its timer 5000: the look comes a moment too early, and the moment passes while it lasts.
    [well, leaseMs] = [true, 1];
    fleet.clock.shift(5000);
    const aMomentLater = () => {
      fleet.clock.shift(1);
      return fleet.ledger.read.actionCounts();
    };
    await expect.poll(aMomentLater, { timeout: 10_000 }).toEqual({ acked: 8 });
  });

  it('that fails five times in a row is left alone, then tried with one', async () => {
    let well = false;
    const duty = await receiver(() => (well ? 200 : 503));
    await using fleet = await openHooks({ duty: duty.url });
    await fleet.ledger.commit(many(1, 20));
    await expect.poll(() => fleet.dispatcher.targets()).toMatchObject({ duty: { state: 'open', inFlight: 0 } });
    const before = duty.arrived.length;
    // Those that were on their way when it opened are counted, too.
    expect(before).toBeGreaterThanOrEqual(5);
    expect(before).toBeLessThanOrEqual(8);
    fleet.clock.shift(4000);
    await expect.poll(() => fleet.ledger.read.actionCounts()).toEqual({ pending: 20 });
    expect(duty.arrived).toHaveLength(before);
    fleet.clock.shift(1000);
    await expect.poll(() => duty.arrived.length).toBe(before + 1);
    await expect.poll(() => fleet.dispatcher.targets()['duty']).toMatchObject({ state: 'open', waitMs: 10_000 });
    well = true;
    fleet.clock.shift(10_000);
    await expect.poll(() => fleet.dispatcher.targets()['duty']?.state).toBe('closed');
    // All are due by now; a clock that was moved on would cut off those on their way.
    await expect.poll(() => fleet.ledger.read.actionCounts()).toEqual({ acked: 20 });
  });

  it('that says 410 gets nothing more, until a person sends it again or its URL changes', async () => {
    let status = 410;
    const duty = await receiver(() => status);
    await using fleet = await openHooks({ duty: duty.url });
    await fleet.ledger.commit(many(1, 1));
    await expect.poll(() => fleet.state(actionId(1))).toBe('dead');
    expect((await fleet.ledger.read.action(actionId(1)))?.error?.code).toBe('E_TARGET_GONE');
    await fleet.ledger.commit(many(2, 10));
    await expect.poll(() => fleet.ledger.read.actionCounts()).toEqual({ dead: 11 });
    expect([duty.arrived.length, fleet.dispatcher.targets()['duty']?.state]).toEqual([1, 'gone']);
    status = 200;
    fleet.clock.shift(1);
    await fleet.ledger.retry(actionId(1));
    await expect.poll(() => fleet.state(actionId(1))).toBe('acked');
    expect(fleet.dispatcher.targets()['duty']?.state).toBe('closed');
    await fleet.ledger.commit(many(20, 1));
    await expect.poll(() => fleet.state(actionId(20))).toBe('acked');
  });

  it('whose action is not there any more makes it dead, with what was expected', async () => {
    const duty = await receiver(() => 200);
    await using fleet = await openHooks({ duty: duty.url });
    fleet.retarget({});
    await fleet.ledger.commit(many(1, 1));
    await expect.poll(() => fleet.state(actionId(1))).toBe('dead');
    expect((await fleet.ledger.read.action(actionId(1)))?.error).toMatchObject({ code: 'E_NOT_FOUND' });
  });
});

describe('a broker that is away', () => {
  it('holds up no webhook', async () => {
    const duty = await receiver(() => 200);
    await using fleet = await openHooks({ duty: duty.url });
    fleet.broker.connect(false);
    await fleet.ledger.commit(many(1, 1));
    await expect.poll(() => fleet.state(actionId(1))).toBe('acked');
  });
});

describe('many that ended', () => {
  it('are sent again together; what was acknowledged is left alone', async () => {
    let status = 400;
    const duty = await receiver(() => status);
    await using fleet = await openHooks({ duty: duty.url });
    await fleet.ledger.commit(many(1, 5));
    await expect.poll(() => fleet.ledger.read.actionCounts()).toEqual({ dead: 5 });
    status = 200;
    const ids = [1, 2, 3, 4, 5].map((seq) => actionId(seq));
    expect(await fleet.ledger.retryAll([...ids, 'nobody~x~0'])).toHaveLength(5);
    await expect.poll(() => fleet.ledger.read.actionCounts()).toEqual({ acked: 5 });
    expect(await fleet.ledger.retryAll(ids)).toEqual([]);
    expect(duty.arrived).toHaveLength(10);
  });
});
