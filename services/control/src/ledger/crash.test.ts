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
import { withoutHttp } from '../actions/without-http.testing.ts';
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
    const deps = {
      ledger: opened.ledger,
      mqtt,
      topics: createTopics(),
      mqttAllow: () => [],
      random: () => 0.5,
      ...withoutHttp,
    };
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

const LONG = process.env['BRINK_TEST_SIZE'] === 'long';
const SWEEP = fileURLToPath(new URL('./sweep.testing.ts', import.meta.url));
const CAMERAS = ['cam-1', 'cam-2', 'cam-3'];

/** One life of control's ledger. @returns what it said, and whether it was killed */
async function live(point: string, n: number): Promise<{ said: string[]; killed: boolean }> {
  const args = ['--disable-warning=ExperimentalWarning', SWEEP, folder, point, String(n), CAMERAS.join(',')];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  const [, signal] = await once(child, 'close');
  return { said: text.split('\n').filter((line) => line !== ''), killed: signal === 'SIGKILL' };
}

/** Cameras whose outcomes are in the ledger. */
async function committed(): Promise<string[]> {
  await using opened = await openLedger({ folder, clock: systemClock });
  const { items: decisions } = await opened.ledger.read.decisions({ limit: 100 });
  return decisions.map(({ device }) => device).toSorted();
}

// In short, the two places that the tests above leave out; in long, each n until the place is not passed so often.
const PLACES: [point: string, from: number, to: number][] = LONG
  ? ['commit.before', 'commit.after', 'dispatch.before_send', 'dispatch.after_send'].map((point) => [point, 1, 100])
  : [
      ['commit.before', 2, 2],
      ['dispatch.after_send', 1, 1],
    ];

describe('control is killed at the n-th time that it passes', () => {
  it.each(PLACES)(
    '%s: what it answered is there, each outcome once, and each action arrives under one key',
    { timeout: 300_000 },
    async (point, from, to) => {
      let n = from;
      for (; n <= to; n++) {
        const first = await live(point, n);
        if (!first.killed) break;
        const answered = first.said.filter((line) => line.startsWith('committed ')).map((line) => line.split(' ')[1]);
        expect(await committed()).toEqual(expect.arrayContaining(answered));
        // The gateway sends again what was not answered, the device drops a key that it knows.
        const second = await live('none', 0);
        expect(second.said.at(-1)).toBe('done');
        const arrived = [...first.said, ...second.said].filter((line) => line.startsWith('arrived'));
        const keys = CAMERAS.map((camera) => `arrived ${camera}.front.k3v9.1.0.pets~flap~0`);
        expect(new Set(arrived)).toEqual(new Set(keys));
        expect(await committed()).toEqual(CAMERAS);
        await rm(folder, { recursive: true });
        folder = await mkdtemp(join(tmpdir(), 'brink-crash-'));
      }
      expect(n).toBeGreaterThan(from);
    },
  );
});
