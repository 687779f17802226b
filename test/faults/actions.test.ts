import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ActionRecord } from '@brink/protocol';
import { systemClock, wait } from '@brink/runtime';
import { expect, it } from 'vitest';
import type { List } from '../harness/api.ts';
import { repository } from '../harness/fleet.ts';
import { dial } from '../harness/link.ts';
import { freePorts } from '../harness/up.ts';
import { type Services, startServices } from './fleet.ts';

// Actions under `kill -9` of control, the broker, the devices and the receiver of webhooks: each arrives, and always under one key
// with one body. Devices and receiver write down what arrives; what should have arrived, this process knows from the outcomes that
// were committed. The system is asked only what expired or died.

const long = process.env.BRINK_TEST_SIZE === 'long';
/** Kills come after so much was done, not after so much time: a slow machine has the same run. */
const RUN = long
  ? { ms: 60_000, outcomes: 1000, perKill: 50, everyMs: 10 }
  : { ms: 0, outcomes: 200, perKill: 40, everyMs: 5 };
/** Long enough to have several kills of control; its commands wait for acks then. */
const WITHOUT = { ms: 0, outcomes: 600, perKill: 50, everyMs: 5 };
const SETTLE_MS = 120_000;
const DUPLICATES_MAX = 0.1;
const CAMERAS = 4;

type Run = typeof RUN;

it('kill -9 of control, broker, devices and receiver loses no action, and few arrive twice, with the same key and body', {
  timeout: 400_000,
}, async () => {
  const verdict = await judge(RUN);
  expect(verdict).toMatchObject({ lost: [], foreign: [], changed: [] });
  expect(verdict.duplicates).toBeLessThan(DUPLICATES_MAX);
  expect(verdict.kills).toBeGreaterThanOrEqual(5);
});

it.runIf(long)(
  '(skipped without BRINK_TEST_SIZE=long) what the run above would see: a control that keeps its actions in memory loses some',
  { timeout: 400_000 },
  async () => {
    const verdict = await judge(WITHOUT, {
      control: ['--import', './test/harness/no-outbox-preload.ts', 'services/control/src/main.ts'],
    });
    expect(verdict.lost.length).toBeGreaterThan(0);
  },
);

async function judge(run: Run, script: Record<string, readonly string[]> = {}) {
  const [hookPort = 0] = await freePorts(1);
  await using services = await startServices({
    only: ['broker', 'control'],
    streams: { front: { format: 'image', pipelines: { pets: { model: 'cifar-net' } } } },
    site: siteOf(hookPort),
    script,
  });
  writeSecret(services.folder);
  await using others = startOthers(services, hookPort);
  const began = performance.now();
  const { committed, kills } = await commitAll(services, others, run);
  const done = performance.now();
  const ended = await settled(services);
  const seconds = (ms: number) => (ms / 1000).toFixed(1);
  process.stderr.write(
    `${seconds(done - began)} s under kills, ${seconds(performance.now() - done)} s until all had ended; `,
  );
  return compare(committed.flatMap(actionsOf), others.arrived(), ended, kills);
}

/** Every second outcome of a camera makes the rule act, the one between makes it act on release: two actions each. */
const siteOf = (port: number) => ({
  rules: {
    flap: {
      on: 'pets',
      when: 'decision.score > 0.5',
      stale_ms_max: 600_000,
      // biome-ignore lint/suspicious/noThenProperty: the word of the configuration; never awaited
      then: sends('open'),
      on_release: sends('close'),
    },
  },
  targets: { duty: { webhook: `http://127.0.0.1:${port}/`, secret: 'duty', allow_private: true, timeout_ms: 2000 } },
});
const sends = (name: string) => [
  {
    command: {
      device: name === 'open' ? 'feeder-1' : 'feeder-2',
      name,
      args: { at: '${device}' },
      expires_ms: 600_000,
    },
  },
  { webhook: { target: 'duty', body: { [name]: '${decision.id}' }, expires_ms: 600_000 } },
];
const actionsOf = ({ id, opens }: { id: string; opens: boolean }) =>
  (opens ? [0, 1] : [2, 3]).map((index) => `${id}~flap~${index}`);

function writeSecret(folder: string): void {
  mkdirSync(join(folder, 'secrets'));
  const key = `whsec_${Buffer.alloc(24, 1).toString('base64')}`;
  writeFileSync(join(folder, 'secrets', 'duty'), key, { mode: 0o600 });
}

/** Devices and the receiver: started again whenever they end. */
function startOthers({ folder, mqtt }: Services, port: number) {
  const programs = {
    'feeder-1': ['feeder-child.ts', { URL: mqtt, NAME: 'feeder-1' }],
    'feeder-2': ['feeder-child.ts', { URL: mqtt, NAME: 'feeder-2' }],
    receiver: ['receiver-child.ts', { PORT: String(port) }],
  } as const;
  const running = new Map<string, ChildProcess>();
  const fileOf = (name: string) => join(folder, `${name}.jsonl`);
  let stopping = false;
  const start = (name: keyof typeof programs): void => {
    if (stopping) return;
    const [script, env] = programs[name];
    const child = spawn(process.execPath, [join(repository, 'test/harness', script)], {
      stdio: ['pipe', 'ignore', 'ignore'],
      env: { ...process.env, ...env, FILE: fileOf(name) },
    });
    child.stdin?.on('error', () => {});
    running.set(name, child);
    child.once('exit', () => start(name));
  };
  const names = Object.keys(programs) as (keyof typeof programs)[];
  names.forEach(start);
  const kill = async (name: string): Promise<void> => {
    const child = running.get(name) as ChildProcess;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  };
  return {
    names,
    kill,
    arrived: () =>
      names.filter((name) => existsSync(fileOf(name))).flatMap((name) => linesOf(readFileSync(fileOf(name), 'utf8'))),
    async [Symbol.asyncDispose]() {
      stopping = true;
      await Promise.all(names.map(kill));
    },
  };
}

interface Arrival {
  readonly key: string;
  readonly body: string;
}

/** A line that a kill cut off was not answered either: it comes again. */
function linesOf(text: string): Arrival[] {
  return text.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as Arrival];
    } catch {
      return [];
    }
  });
}

const ORDER = ['control', 'receiver', 'feeder-1', 'broker', 'feeder-2'] as const;

/** One after the other, so that each is killed as often as the others. */
async function killNext(services: Services, others: ReturnType<typeof startOthers>, kills: number): Promise<void> {
  const name = ORDER[kills % ORDER.length] as (typeof ORDER)[number];
  if (name === 'control' || name === 'broker') await services.kill(name);
  else await others.kill(name);
}

/** Outcomes over the link, each sent until it is committed, as a gateway does, and kills in between. */
async function commitAll(services: Services, others: ReturnType<typeof startOthers>, run: Run) {
  await using link = await dial(join(services.folder, 'control.sock'));
  const committed: { id: string; opens: boolean }[] = [];
  const late = performance.now() + run.ms;
  let kills = 0;
  for (let seq = 1; seq <= run.outcomes || performance.now() < late; seq++) {
    const device = `cam-${seq % CAMERAS}`;
    const opens = Math.floor((seq - 1) / CAMERAS) % 2 === 0;
    const bytes = Buffer.from(JSON.stringify(outcomeOf(device, seq, opens)));
    // In the midst of what it may be at: what was committed a moment ago is on its way.
    if (seq % run.perKill === run.perKill / 2) await killNext(services, others, kills++);
    for (let done = false; !done; ) {
      done = await link.commit([bytes]).then(
        () => true,
        () => wait(20, systemClock).then(() => false),
      );
    }
    committed.push({ id: `${device}.front.k3v9.${seq}.0.pets`, opens });
    await wait(run.everyMs, systemClock);
  }
  return { committed, kills };
}

const outcomeOf = (device: string, seq: number, opens: boolean) => ({
  ...{ device, stream: 'front', boot: 'k3v9', seq, part: 0, pipeline: 'pets', outcome: 'decided' },
  result: { task: 'classification', label: 'cat', score: opens ? 0.9 : 0.1, classes: [{ label: 'cat', score: 0.9 }] },
  frames: { boot: 'k3v9', first: seq, last: seq, received: 1 },
  ...{ model: { name: 'cifar-net', version: 1 }, received_ms: Date.now(), latency_ms: 5, durable: true },
  evidence: {
    frame: { sha256: 'f'.repeat(64), bytes: 4096, type: 'image/jpeg', width: 640, height: 480 },
    model: { passport_sha256: 'a'.repeat(64), model_sha256: 'b'.repeat(64), provider: 'cpu' },
    transform: { scale: [0.05, 0.067], offset: [0, 0], fit: 'stretch', width: 32, height: 32 },
    ...{ batch: 1, ms: { queue: 1, infer: 4 }, top: [], attempts: 1, gateway: 'gateway-1' },
  },
});

/** Waits until each has ended: a look at one state after the other would miss what changes in between. */
async function settled({ http }: Services): Promise<ActionRecord[]> {
  const late = performance.now() + SETTLE_MS;
  for (;;) {
    const all = await everyAction(http);
    const open = all.filter(({ ended_at }) => ended_at === undefined);
    if (open.length === 0) return all.filter(({ state }) => state === 'expired' || state === 'dead');
    if (performance.now() > late) throw new Error(`still on their way: ${open.map(({ id }) => id).join(', ')}`);
    await wait(200, systemClock);
  }
}

async function everyAction(http: Services['http']): Promise<ActionRecord[]> {
  const all: ActionRecord[] = [];
  for (let before = ''; ; ) {
    const { items, next } = await http.until<List<ActionRecord>>(`/v1/actions?limit=500${before}`, () => true);
    all.push(...items);
    if (next === undefined || next === null) return all;
    before = `&before=${next}`;
  }
}

/** Set arithmetic over what was ordered and what arrived. */
function compare(
  ordered: readonly string[],
  arrived: readonly Arrival[],
  ended: readonly ActionRecord[],
  kills: number,
) {
  const bodies = new Map<string, Set<string>>();
  for (const { key, body } of arrived) bodies.set(key, (bodies.get(key) ?? new Set()).add(body));
  const accounted = new Set([...bodies.keys(), ...ended.map(({ id }) => id)]);
  const wanted = new Set(ordered);
  const lost = ordered.filter((id) => !accounted.has(id));
  const foreign = [...bodies.keys()].filter((id) => !wanted.has(id));
  const changed = [...bodies].filter(([, texts]) => texts.size > 1).map(([id]) => id);
  const duplicates = (arrived.length - bodies.size) / arrived.length;
  // What a person who runs it wants to see; the test itself needs the sets alone.
  process.stderr.write(
    `actions: ${ordered.length} ordered, ${bodies.size} arrived (${(100 * duplicates).toFixed(1)} % of ${arrived.length} arrivals were repeats), ` +
      `${ended.length} expired or dead, ${lost.length} lost, ${foreign.length} that nobody ordered, ${kills} kills\n`,
  );
  return { lost, foreign, changed, duplicates, kills };
}
