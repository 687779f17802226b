import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { startBroker, startControl } from '../harness/control.ts';
import { dial } from '../harness/link.ts';

const long = process.env.BRINK_TEST_SIZE === 'long';
/** Of two starts of control under load, each. */
const RESTART_MS_MAX = 10_000;
const RESTARTS = long ? 50 : 1;
const TIMEOUT_MS = 20_000 + RESTARTS * RESTART_MS_MAX;
const STOP_MS_MAX = 10_000;
const PAUSE_MS = long ? 60_000 : 1500;
/** Requests in flight, and outcomes in each. */
const [IN_FLIGHT, BATCH] = [4, 20];

async function place(): Promise<{ folder: string; data: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'brink-rolling-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return { folder, data: 'data' };
}

/** A gateway that is told of each batch, and sends on until it is told no more. */
async function feed(socket: string, seqs: Generator<number>, stopping: AbortSignal) {
  await using gateway = await dial(socket);
  const answered: number[] = [];
  const unanswered: number[][] = [];
  const work = async () => {
    while (!stopping.aborted) {
      const batch = Array.from({ length: BATCH }, () => seqs.next().value as number);
      const sent = await gateway.commit(batch.map(outcome)).then(
        () => true,
        () => false,
      );
      if (sent) answered.push(...batch);
      else return void unanswered.push(batch);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, work));
  return { answered, unanswered };
}

function* counted(): Generator<number> {
  for (let seq = 1; ; seq++) yield seq;
}

/** `decided` and `duplicate`, of all. */
async function countsOf(http: string): Promise<{ decided: number; duplicate: number }> {
  const status = (await (await fetch(`${http}/v1/status`)).json()) as {
    ledger: { committed: { decided: number; duplicate: number }[] };
  };
  const sum = (key: 'decided' | 'duplicate') => status.ledger.committed.reduce((all, lane) => all + lane[key], 0);
  return { decided: sum('decided'), duplicate: sum('duplicate') };
}

it(
  `control that is told to stop answers what it has committed and ends in time: ${RESTARTS} restarts under load, nothing is committed twice`,
  async () => {
    const { folder, data } = await place();
    await using broker = await startBroker(folder, { version: 1 });
    const options = { folder, url: broker.url, data };
    const seqs = counted();
    let committed = 0;
    for (let restart = 0; restart < RESTARTS; restart++) {
      const control = await startControl(options);
      const stopping = new AbortController();
      const feeding = feed(control.socket, seqs, stopping.signal);
      await expect
        .poll(() => control.metric('brink_control_ledger_committed'), { timeout: 20_000 })
        .toBeGreaterThan(200);
      const began = performance.now();
      expect(await control.stop()).toBe(0);
      expect(performance.now() - began).toBeLessThan(STOP_MS_MAX);
      stopping.abort();
      const { answered, unanswered } = await feeding;
      committed += answered.length;
      // What was not answered was not committed: its next try is its first commit.
      await using again = await startControl(options);
      await using gateway = await dial(again.socket);
      for (const batch of unanswered) await gateway.commit(batch.map(outcome));
      committed += unanswered.flat().length;
      expect(await countsOf(again.http)).toEqual({ decided: committed, duplicate: 0 });
    }
  },
  TIMEOUT_MS,
);

it(`control that stands still for ${PAUSE_MS / 1000} s goes on where it was`, async () => {
  const { folder, data } = await place();
  await using broker = await startBroker(folder, { version: 1 });
  await using control = await startControl({ folder, url: broker.url, data });
  const seqs = counted();
  const stopping = new AbortController();
  const feeding = feed(control.socket, seqs, stopping.signal);
  await expect.poll(() => control.metric('brink_control_ledger_committed'), { timeout: 20_000 }).toBeGreaterThan(200);
  process.kill(control.pid, 'SIGSTOP');
  await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  process.kill(control.pid, 'SIGCONT');
  stopping.abort();
  const { answered, unanswered } = await feeding;
  await using gateway = await dial(control.socket);
  for (const batch of unanswered) await gateway.commit(batch.map(outcome));
  const { decided } = await countsOf(control.http);
  expect(decided).toBe(answered.length + unanswered.flat().length);
  await expect.poll(async () => (await fetch(`${control.http}/v1/status`)).status, { timeout: 10_000 }).toBe(200);
});

const outcome = (seq: number): Buffer =>
  Buffer.from(
    JSON.stringify({
      ...{ device: 'cam-1', stream: 'front', boot: 'k3v9', seq, part: 0, pipeline: 'pets', outcome: 'decided' },
      result: { task: 'classification', label: 'cat', score: 0.9 },
      frames: { boot: 'k3v9', first: seq, last: seq, received: 1 },
      ...{ model: { name: 'tiny', version: 1 }, received_ms: Date.now(), latency_ms: 8, durable: true },
      evidence: { frame: { sha256: 'f'.repeat(64), bytes: 100 }, gateway: 'gateway-1' },
    }),
  );
