import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { BrinkError, ConfigurationSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { typeOf } from '../src/ingest/checks.ts';
import { planOf, type StreamPlan } from '../src/ingest/plan.ts';
import { samplesOf } from '../src/window/samples.ts';
import { EVERY_KIND, GOOD, serveEveryKind } from './harness/every-kind.ts';
import { mutant, seeded } from './harness/mutants.ts';
import { type Site, startSite, until } from './harness/site.ts';

// Frames made by chance, by the grammar of what they claim to be. A run is repeated with BRINK_TEST_SEED.

const LONG = process.env['BRINK_TEST_SIZE'] === 'long';
const SEED = Number(process.env['BRINK_TEST_SEED'] ?? 41);
const COUNT = LONG ? 100_000 : 2000;
/** After so many a process has grown to what it needs for frames of every kind. */
const WARM = LONG ? 10_000 : 800;
const DIRECT = LONG ? 1_000_000 : 20_000;
const MEGABYTE = 1024 * 1024;
/** What JavaScript says of a reader, where a reader should say something of the bytes. */
const NOT_OURS =
  /undefined|is not a function|is not iterable|Maximum call stack|Cannot read|out of (bounds|range)|Invalid (array|typed)/;

/** Mutants that never get past the first check try nothing. */
const REACHED = [
  ...['read', 'E_ENCODING', 'E_TYPE', 'E_IMAGE_TYPE', 'E_DEPTH', 'E_NUMBER', 'E_FORBIDDEN_KEY', 'E_DECODE', 'E_SHAPE'],
];

describe(`${COUNT} mutated frames`, () => {
  it('do no harm: the process lives, its memory stays, each is counted once, good frames beside them are decided', async () => {
    await using site = await startSite({ configuration: EVERY_KIND });
    await serveEveryKind(site);
    await site.ready();
    await site.service.stop();
    await using gateway = await startGateway(site);
    const sender = createSender(site, seeded(SEED));
    let before: Weight | undefined;
    for (let i = 0; i < COUNT; i += 50) {
      if (i > 0 && i % WARM === 0) {
        await settled(gateway, sender.sent);
        const now = await gateway.weight();
        before ??= now;
      }
      await sender.mutants(i);
      await sender.goodFrames(i);
    }
    await settled(gateway, sender.sent);
    expect(gateway.child.exitCode).toBeNull();
    const after = await gateway.weight();
    const [rss, live] = [after.rss - before!.rss, after.live - before!.live].map((grown) => Number(grown.toFixed(1)));
    const refused = sum(await gateway.metrics('rejected'));
    say(
      `${COUNT} mutants, seed ${SEED}: ${refused} refused; ${sender.good} good ones; memory ${rss} MB more, in use ${live} MB`,
    );
    expect(live).toBeLessThan(20);
    // In a short run the process is still growing to its size.
    expect(rss).toBeLessThan(LONG ? 50 : 100);
    await eachCountedOnce(gateway, sender.sent);
    const decided = site.control.outcomes.filter((one) => one.device === 'good' && one.outcome === 'decided');
    expect(decided.length).toBe(sender.good);
    const strange = [...site.control.letters, ...site.control.outcomes].filter(
      ({ error }) => error !== undefined && isStrange(error),
    );
    expect(strange.map(({ error }) => `${error?.code}: ${error?.detail}`)).toEqual([]);
  }, 900_000);
});

/** Received is what was sent, stream by stream, and both laws hold. */
async function eachCountedOnce(gateway: Gateway, sent: ReadonlyMap<string, number>): Promise<void> {
  const frames = await gateway.metrics('frames');
  const received = (stream: string) => sum(withLabels(frames, 'fate="received"', `stream="${stream}"`));
  expect(Object.fromEntries([...sent.keys()].map((stream) => [stream, received(stream)]))).toEqual(
    Object.fromEntries(sent),
  );
  const of = (fate: string) => sum(withLabels(frames, `fate="${fate}"`));
  expect(of('received')).toBe(of('accepted') + of('duplicate') + of('rejected') + of('dropped'));
  expect(sum(await gateway.metrics('rejected'))).toBe(of('rejected'));
  const units = await gateway.metrics('units');
  const ended = (fate: string) => sum(withLabels(units, `fate="${fate}"`));
  expect(ended('formed')).toBe(ended('decided') + ended('expired') + ended('dead') + ended('dropped'));
}

function createSender(site: Site, random: () => number) {
  const sent = new Map<string, number>();
  const count = (stream: string) => sent.set(stream, (sent.get(stream) ?? 0) + 1);
  return {
    /** By the stream that has to count them; "" is none. */
    sent,
    good: 0,
    /** 50, of 20 devices. */
    async mutants(first: number): Promise<void> {
      const publishing = Array.from({ length: 50 }, (_, k) => {
        const { stream, payload, id } = mutant(random, first + k);
        count(id === undefined ? stream : '');
        return site.frame(`m-${(first + k) % 20}`, stream, payload, id);
      });
      await Promise.all(publishing);
    },
    /** One of each kind, on streams that keep everything. */
    async goodFrames(i: number): Promise<void> {
      for (const [name, payload] of GOOD) {
        const stream = name.replace(/(-kept)?$/, '-kept');
        count(stream);
        this.good += 1;
        await site.frame('good', stream, payload(), `good-${i + 1}`);
      }
    },
  };
}

/** Figures, for who reads the output of a test run. */
const say = (line: string) => process.stdout.write(`${line}\n`);

type Line = readonly [labels: string, value: number];
const withLabels = (lines: readonly Line[], ...labels: string[]) =>
  lines.filter(([text]) => labels.every((label) => text.includes(label)));
const sum = (lines: readonly Line[]) => lines.reduce((total, [, value]) => total + value, 0);

interface Weight {
  readonly rss: number;
  readonly live: number;
}

interface Gateway {
  readonly child: ChildProcess;
  /** Megabytes: of the process, and of what is in use in it. */
  weight(): Promise<Weight>;
  metrics(what: 'frames' | 'rejected' | 'units' | 'pending'): Promise<Line[]>;
  [Symbol.asyncDispose](): Promise<void>;
}

const METRICS = {
  frames: 'brink_gateway_frames_total',
  rejected: 'brink_gateway_frames_rejected_total',
  units: 'brink_gateway_units_total',
  pending: 'brink_gateway_units_pending',
};

/** Asked for its weight, the process collects its garbage first: V8 lets it stand as long as the machine has memory. */
const WEIGH = `process.on('message', () => { gc(); gc(); process.send(process.memoryUsage()); });`;

/** A gateway in a process of its own, as it is started: what it weighs is nobody else's. */
async function startGateway(site: Site): Promise<Gateway> {
  const port = await freePort();
  const child = fork(join(import.meta.dirname, '../src/main.ts'), [], {
    env: { ...process.env, ...site.env, BRINK_OPS_PORT: String(port), BRINK_LOG_LEVEL: 'error' },
    execArgv: ['--expose-gc', '--import', `data:text/javascript,${encodeURIComponent(WEIGH)}`],
  });
  const get = async (path: string) => (await fetch(`http://127.0.0.1:${port}${path}`)).text();
  await until(
    async () => (await get('/readyz').catch(() => '')).includes('"problems":[]'),
    'the gateway is not ready',
    20_000,
  );
  const metrics = async (what: keyof typeof METRICS) => {
    const lines = (await get('/metrics')).split('\n').filter((line) => line.startsWith(`${METRICS[what]}{`));
    return lines.map((line): Line => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]);
  };
  return {
    child,
    metrics,
    async weight() {
      child.send('weigh');
      const [{ rss, heapUsed, external }] = (await once(child, 'message')) as [NodeJS.MemoryUsage];
      return { rss: rss / MEGABYTE, live: (heapUsed + external) / MEGABYTE };
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    },
  };
}

/** Everything that was sent has come in, and nothing is on its way any more. */
async function settled(gateway: Gateway, sent: ReadonlyMap<string, number>): Promise<void> {
  const limit = LONG ? 120_000 : 20_000;
  const all = [...sent.values()].reduce((total, count) => total + count, 0);
  const received = async () => sum(withLabels(await gateway.metrics('frames'), 'fate="received"'));
  await until(
    async () => (await received()) >= all,
    async () => `${await received()} of ${all} received`,
    limit,
  );
  const pending = async () => (await gateway.metrics('pending')).filter(([, value]) => value !== 0);
  await until(
    async () => (await pending()).length === 0,
    async () => `pending: ${(await pending()).map(([labels, value]) => `${labels} ${value}`).join(', ')}`,
    limit,
  );
}

function freePort(): Promise<number> {
  const server = createServer();
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

describe(`${DIRECT} mutants, read without a network`, () => {
  it('are samples, or refused with a code and in words of our own', () => {
    const configuration = ConfigurationSchema.parse(EVERY_KIND);
    const { streams } = planOf({ revision: '0123456789ab', configuration });
    const random = seeded(SEED + 1);
    const codes = new Map<string, number>();
    for (let i = 0; i < DIRECT; i++) {
      const { stream, payload } = mutant(random, i);
      const error = errorOf(streams.get(stream)!, payload);
      codes.set(error?.code ?? 'read', (codes.get(error?.code ?? 'read') ?? 0) + 1);
      if (error !== undefined && isStrange(error)) expect.fail(`seed ${SEED + 1}, mutant ${i}: ${error.message}`);
    }
    say(`${DIRECT} mutants read: ${[...codes].map(([code, n]) => `${code} ${n}`).join(', ')}`);
    for (const code of REACHED) expect(codes.get(code) ?? 0, code).toBeGreaterThan(10);
  });
});

function errorOf(plan: StreamPlan, payload: Buffer): BrinkError | undefined {
  const type = typeOf(plan, { payload });
  const read = type instanceof BrinkError ? type : samplesOf(plan, payload, type);
  return read instanceof BrinkError ? read : undefined;
}

/** What libvips says of a picture is passed on as it is. */
const isStrange = ({ code, detail }: Pick<BrinkError, 'code' | 'detail'>) =>
  code === 'E_INTERNAL' || (!detail.startsWith('libvips:') && (detail.length > 500 || NOT_OURS.test(detail)));
