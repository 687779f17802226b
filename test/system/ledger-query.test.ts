import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { startBroker, startControl } from '../harness/control.ts';
import { DEVICES, FIRST_MS, fillDecisions, STEP_MS } from '../harness/rows.ts';

const long = process.env.BRINK_TEST_SIZE === 'long';
/** 7 GB. */
const ROWS = 10_000_000;
const QUERIES = 1000;
const P99_MS_MAX = 50;
const HOUR_MS = 3_600_000;

const SKIPPED = long ? '' : '(skipped without BRINK_TEST_SIZE=long) ';

it.skipIf(!long)(
  `${SKIPPED}a page by device and time among ten million decisions holds what it must, p99 below 50 ms`,
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'brink-query-'));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    await using broker = await startBroker(folder, { version: 1 });
    const options = { folder, url: broker.url, data: 'data' };
    await (await startControl(options))[Symbol.asyncDispose]();
    fillDecisions(join(folder, 'data'), ROWS);
    await using control = await startControl(options);

    const times: number[] = [];
    for (let i = 0; i < QUERIES; i++) {
      // A place of its own for each: no page is asked for twice.
      const since = FIRST_MS + Math.floor(((i * 0.618033988749895) % 1) * ROWS) * STEP_MS;
      const until = since + ((i % 24) + 1) * (HOUR_MS / 24);
      const device = i % DEVICES;
      const began = performance.now();
      const { items } = await decisions(control.http, device, since, until);
      times.push(performance.now() - began);
      expect(items.map(({ n }) => n)).toEqual(expected(device, since, until));
    }
    times.sort((a, b) => a - b);
    const p99 = times[Math.floor(QUERIES * 0.99)] as number;
    expect(p99).toBeLessThan(P99_MS_MAX);
  },
  1_500_000,
);

const LIMIT = 100;

async function decisions(
  http: string,
  device: number,
  since: number,
  until: number,
): Promise<{ items: { n: number }[] }> {
  const time = `since=${new Date(since).toISOString()}&until=${new Date(until).toISOString()}`;
  const answer = await fetch(`${http}/v1/decisions?device=cam-${device}&${time}&limit=${LIMIT}`);
  if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
  return (await answer.json()) as { items: { n: number }[] };
}

/** Row n is of device n mod DEVICES, received n steps after the first. */
function expected(device: number, since: number, until: number): number[] {
  const ns: number[] = [];
  const last = Math.min(ROWS, Math.ceil((until - FIRST_MS) / STEP_MS) - 1);
  const first = Math.max(1, Math.ceil((since - FIRST_MS) / STEP_MS));
  let n = last - ((((last - device) % DEVICES) + DEVICES) % DEVICES);
  for (; n >= first && ns.length < LIMIT; n -= DEVICES) ns.push(n);
  return ns;
}
