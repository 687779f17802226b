import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { link, ModelPolicy, Result } from '@brink/protocol';
import { createLinkClient, type LinkClient, silentLogger, systemClock } from '@brink/runtime';
import { readConfig } from '../../src/config.ts';
import { createService, type InferenceService } from '../../src/service.ts';

type Announced = Pick<
  link.ModelState,
  'name' | 'version' | 'state' | 'passportSha256' | 'batchBest' | 'serving' | 'reason' | 'copies'
>;

export interface Inference {
  readonly service: InferenceService;
  readonly gateway: LinkClient;
  /** The models of the latest announcement. */
  readonly announced: readonly Announced[];
  /** Resolves when an announcement matches. */
  until(matches: (models: readonly Announced[]) => boolean, limitMs?: number): Promise<readonly Announced[]>;
  /** One Decide. @param units their tensors; attempts and deadline as given */
  decide(
    of: { name: string; version?: number; passport: string },
    units: readonly Unit[],
    priority?: number,
  ): Promise<Decided[]>;
  metrics(): Promise<string>;
  [Symbol.asyncDispose](): Promise<void>;
}

interface AskedUnit {
  readonly deadlineMs?: number;
  readonly attempts?: number;
}

/** A picture, or whatever the passport asks for: its inputs in their order, then its states. */
export type Unit = AskedUnit &
  ({ readonly pixels: Uint8Array; readonly shape: readonly number[] } | { readonly tensors: readonly UnitTensor[] });

export interface UnitTensor {
  readonly name?: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export interface Decided {
  readonly result: Result | undefined;
  readonly code: string | undefined;
  readonly detail: string | undefined;
  readonly attempt: boolean;
  readonly batch: number;
  readonly top: { label: string; raw: number }[];
  /** What its recurrent state is now, in the order of the passport. */
  readonly states: readonly Buffer[];
}

/** A folder that is gone afterwards. */
export async function temporaryFolder() {
  const path = await mkdtemp(join(tmpdir(), 'brink-inference-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

export interface InferenceOptions {
  /** over the settings of tests */
  readonly env?: Record<string, string>;
  /** The configuration that it finds on disk, as it was kept the last time. */
  readonly configuration?: { site?: { language: string }; models?: Record<string, Partial<ModelPolicy>> };
}

/** The service on ports of its own, with a gateway's link. */
export async function startInference(modelsDir: string, o: InferenceOptions = {}): Promise<Inference> {
  const folder = await temporaryFolder();
  const env = o.env ?? {};
  if (o.configuration !== undefined) {
    await mkdir(join(folder.path, 'data'));
    const kept = { revision: '0123456789ab', configuration: { version: 1, ...o.configuration } };
    await writeFile(join(folder.path, 'data/configuration.json'), JSON.stringify(kept));
  }
  const settings = {
    BRINK_MODELS_DIR: modelsDir,
    BRINK_DATA_DIR: join(folder.path, 'data'),
    BRINK_LINK_LISTEN: `unix:${join(folder.path, 'link.sock')}`,
    BRINK_HTTP_PORT: '0',
    BRINK_GRPC_PORT: '0',
    BRINK_OPS_PORT: '0',
    // Nobody listens there: the service must do without.
    BRINK_MQTT_URL: 'mqtt://127.0.0.1:1',
    ...env,
  };
  const service = createService(readConfig(settings), {
    logger: silentLogger,
    clock: systemClock,
    random: Math.random,
    // Looking four times as often as at a site; grace as there.
    pace: { lookMs: 250, restMs: 50, graceMs: 500, firstRunMsMax: 4000 },
  });
  await service.start(AbortSignal.timeout(30_000));
  let announced: readonly Announced[] = [];
  const waiting = new Set<() => void>();
  const gateway = createLinkClient(
    {
      service: 'gateway',
      instance: 'gateway-test',
      window: 8,
      frameBytesMax: 2 ** 24,
      connect: service.addresses.link,
      ...(env['TEST_LINK_TOKEN'] === undefined ? {} : { token: env['TEST_LINK_TOKEN'] }),
    },
    {
      handlers: {
        announce: async (value) => {
          announced = value.models;
          for (const check of waiting) check();
          return { body: { case: 'done', value: {} } };
        },
      },
      logger: silentLogger,
      clock: systemClock,
      random: Math.random,
    },
  );
  await gateway.start(AbortSignal.timeout(10_000));

  return {
    service,
    gateway,
    get announced() {
      return announced;
    },
    until(matches, limitMs = 30_000) {
      return new Promise((resolve, reject) => {
        const limit = setTimeout(() => {
          waiting.delete(check);
          reject(new Error(`never announced; last: ${JSON.stringify(announced)}`));
        }, limitMs);
        const check = () => {
          if (announced.length === 0 || !matches(announced)) return;
          waiting.delete(check);
          clearTimeout(limit);
          resolve(announced);
        };
        waiting.add(check);
        check();
      });
    },
    async decide(of, units, priority = 5) {
      const reply = await gateway.request(
        {
          case: 'decide',
          value: {
            model: of.name,
            version: of.version ?? 1,
            passportSha256: of.passport,
            priority,
            units: units.map((unit, index) => ({
              id: `unit-${index}`,
              deadlineMs: unit.deadlineMs ?? 0,
              attempts: unit.attempts ?? 0,
              inputs: tensorsOf(unit).map(({ name = 'x', dtype, shape }) => ({ name, dtype, shape: [...shape] })),
            })),
          },
        },
        units.flatMap((unit) => tensorsOf(unit).map(({ bytes }) => bytes)),
      );
      if (reply.body.case !== 'decided') throw new Error(`answered with ${reply.body.case}`);
      let at = 0;
      return reply.body.value.results.map((result) => {
        const own = reply.payloads.slice(at, at + result.payloads);
        at += result.payloads;
        return decidedOf(result, own);
      });
    },
    async metrics() {
      const { host, port } = service.addresses.ops;
      return (await fetch(`http://${host}:${port}/metrics`)).text();
    },
    async [Symbol.asyncDispose]() {
      await gateway.stop();
      await service.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

function tensorsOf(unit: Unit): readonly UnitTensor[] {
  return 'tensors' in unit ? unit.tensors : [{ dtype: 'uint8', shape: unit.shape, bytes: unit.pixels }];
}

function decidedOf(result: link.UnitResult, [json, ...states]: readonly Buffer[]): Decided {
  return {
    result: json === undefined ? undefined : (JSON.parse(json.toString('utf8')) as Result),
    code: result.failure?.code,
    detail: result.failure?.detail,
    attempt: result.attempt,
    batch: result.batch,
    top: result.topJson === '' ? [] : (JSON.parse(result.topJson) as { label: string; raw: number }[]),
    states,
  };
}

/** Four grey pixels. */
export function pixels(...values: number[]): Unit {
  return { pixels: Uint8Array.from(values), shape: [1, values.length, 1] };
}

/** Waits for a condition, with a limit. */
export async function eventually<T>(
  what: string,
  check: () => Promise<T | undefined | false>,
  limitMs = 20_000,
): Promise<T> {
  const late = performance.now() + limitMs;
  for (;;) {
    const found = await check();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > late) throw new Error(`${what}: not within ${limitMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
