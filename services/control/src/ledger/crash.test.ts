import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createTopics } from '@brink/protocol';
import { silentLogger, systemClock } from '@brink/runtime';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDispatcher } from '../actions/dispatcher.ts';
import { items, openLedger, outcome } from './ledger.testing.ts';

const SCRIPT = fileURLToPath(new URL('./crash.testing.ts', import.meta.url));
const ID = 'cam-1.front.k3v9.1.0.pets~flap~0';
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'brink-crash-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Runs the ledger in a process of its own up to `point`, and kills it there. */
async function killAt(point: 'committed' | 'leased'): Promise<void> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', SCRIPT, folder, point], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  expect((await gone)[1]).toBe('SIGKILL');
}

describe('control is killed', () => {
  it('after COMMIT, before its reply: the batch that is sent again is committed already, the action still due', async () => {
    await killAt('committed');
    await using opened = await openLedger({ folder, clock: systemClock });
    expect(await opened.ledger.commit(items(outcome(1)))).toEqual({ inserted: 0, duplicates: 1 });
    expect(opened.feed).toEqual([]);
    const { actions } = await opened.ledger.lease({ limit: 10, leaseMs: 1000 });
    expect(actions.map((action) => [action.id, action.attempt])).toEqual([[ID, 1]]);
  });

  it('before it sent anything: the command leaves after the restart, once, under its key', async () => {
    await killAt('committed');
    await using opened = await openLedger({ folder, clock: systemClock });
    const arrived: { topic: string; key: string }[] = [];
    const mqtt = {
      connected: true,
      onConnect() {},
      async publish(topic: string, payload: string | Uint8Array) {
        arrived.push({ topic, key: JSON.parse(String(payload)).key });
      },
    };
    const deps = { ledger: opened.ledger, mqtt, topics: createTopics(), mqttAllow: () => [], random: () => 0.5 };
    const dispatcher = createDispatcher({}, { ...deps, clock: systemClock, logger: silentLogger });
    await dispatcher.start(new AbortController().signal);
    await expect.poll(async () => (await opened.ledger.read.action(ID))?.state).toBe('sent');
    await dispatcher.stop();
    expect(arrived).toEqual([{ topic: 'brink/feeder-1/down/commands/open', key: ID }]);
  });

  it('after it leased an action: the action is due at once, under the same key, and both attempts are kept', async () => {
    await killAt('leased');
    await using opened = await openLedger({ folder, clock: systemClock });
    const { actions } = await opened.ledger.lease({ limit: 10, leaseMs: 1000 });
    expect(actions.map((action) => [action.id, action.attempt])).toEqual([[ID, 2]]);
    const explained = await opened.ledger.read.explainAction(ID);
    expect(explained?.attempts.map((attempt) => attempt.result)).toEqual(['lost', 'open']);
  });
});
