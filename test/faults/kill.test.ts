import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDevice } from '@brink/device';
import type { Decision, Status } from '@brink/protocol';
import { connectAsync, type MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Api, api, type List } from '../harness/api.ts';
import { repository } from '../harness/fleet.ts';
import { startUp } from '../harness/up.ts';

// kill -9 of each part while a stream runs: the loop goes on by itself.

const cat = readFileSync(join(repository, 'packages/device/pictures/chelsea.jpg'));
const long = process.env.BRINK_TEST_SIZE === 'long';
// `brink up` gives a service up that ends more than five times within a minute, and control is killed once more below.
const ROUNDS = long ? 3 : 1;
/** An action that nobody acknowledges is sent again after up to 30 s. */
const RETRY_MS = 45_000;
const RECOVERY_MS = 20_000;

let folder: string;
let up: Awaited<ReturnType<typeof startUp>>;
let http: Api;
let camera: ReturnType<typeof setInterval>;
let client: MqttClient | undefined;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'brink-kill-'));
  // The site as shipped, but an action lives long enough to see a feeder that comes late.
  const config = join(folder, 'config');
  cpSync(join(repository, 'config'), config, { recursive: true });
  const rules = join(config, 'rules.yaml');
  writeFileSync(rules, readFileSync(rules, 'utf8').replace('expires_ms: 5000', 'expires_ms: 600000'));
  up = await startUp({ folder, config });
  http = api(up.http);
  client = await connectAsync(up.mqtt, { reconnectPeriod: 200 });
  client.on('error', () => {});
  camera = setInterval(() => client?.publish('brink/cam-1/up/frames/front', cat), 100);
});

afterAll(async () => {
  clearInterval(camera);
  await client?.endAsync(true);
  await up?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** The newest decision's number; a new one means that the loop runs. */
async function newest(): Promise<number> {
  const { items } = await http.get<List<Decision>>('/v1/decisions?limit=1&pipeline=pets');
  return items[0]?.n ?? 0;
}

async function goesOn(after: number): Promise<void> {
  // Three more, so that it is not one that was on its way already.
  await http.until<List<Decision>>(
    '/v1/decisions?limit=1&pipeline=pets',
    (list) => (list.items[0]?.n ?? 0) >= after + 3 && list.items[0]?.outcome === 'decided',
    RECOVERY_MS,
  );
}

/** Process ids of the children of `pid` whose command line contains `word`. */
function childrenOf(pid: number, word: string): number[] {
  const table = execFileSync('ps', ['-eo', 'pid=,ppid=,args='], { encoding: 'utf8' });
  return table
    .split('\n')
    .map((line) => /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line))
    .filter((match) => match !== null && Number(match[2]) === pid && match[3]!.includes(word))
    .map((match) => Number(match![1]));
}

const pids = new Map<string, number>();
const pidOf = (service: string) => pids.get(service) ?? (up.pids[service] as number);

describe('kill -9 during a stream', () => {
  it.each(['gateway', 'inference', 'control', 'broker'])(
    'of %s: it is restarted and the loop goes on',
    async (service) => {
      for (let round = 0; round < ROUNDS; round++) {
        await goesOn(await newest());
        const seen = up.events.length;
        process.kill(pidOf(service), 'SIGKILL');
        const restarted = await up.event(
          (event) => event.event === 'started' && event.service === service && up.events.indexOf(event) >= seen,
        );
        pids.set(service, restarted.pid as number);
        await http.until<List<Decision>>('/v1/decisions?limit=1', () => true, RECOVERY_MS);
        await goesOn(await newest());
      }
    },
  );

  it('of a runner: inference starts another and the loop goes on', async () => {
    await goesOn(await newest());
    const runners = childrenOf(pidOf('inference'), 'runner');
    expect(runners.length).toBeGreaterThanOrEqual(2);
    for (const runner of runners) process.kill(runner, 'SIGKILL');
    await goesOn(await newest());
  });

  it('of a decode child: the gateway starts another and the loop goes on', async () => {
    await goesOn(await newest());
    const children = childrenOf(pidOf('gateway'), 'decode');
    expect(children.length).toBeGreaterThanOrEqual(1);
    for (const child of children) process.kill(child, 'SIGKILL');
    await goesOn(await newest());
  });

  it('leaves both conservation laws whole and no unit decided twice', async () => {
    await http.until<Status>(
      '/v1/status',
      ({ laws }) => laws.streams.holds && laws.pipelines.holds && laws.pipelines.items.length > 0,
    );
    const ids = new Set<string>();
    let after = 0;
    for (;;) {
      const { items, next } = await http.get<List<Decision>>(`/v1/decisions?after=${after}&limit=500`);
      for (const { id } of items) {
        expect(ids.has(id)).toBe(false);
        ids.add(id);
      }
      if (items.length === 0 || next === undefined || next === null) break;
      after = next;
    }
    expect(ids.size).toBeGreaterThan(20);
  });

  it('of control while an action waits for its ack: it is delivered afterwards under the same key, and carried out once', async () => {
    const feeder = createDevice({ url: up.mqtt, name: 'feeder-1' });
    const keys: string[] = [];
    feeder.onCommand('open', (_, { key }) => void keys.push(key));
    const before = await newest();
    await goesOn(before);
    process.kill(pidOf('control'), 'SIGKILL');
    await feeder.start(AbortSignal.timeout(10_000));
    await http.until<List<{ state: string }>>(
      '/v1/actions?limit=1',
      (list) => list.items[0]?.state === 'acked',
      RETRY_MS,
    );
    expect(new Set(keys).size).toBe(keys.length);
    await feeder.stop();
  });
});
