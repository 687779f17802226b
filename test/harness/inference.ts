import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { link, ModelPolicy } from '@brink/protocol';
import { createLinkClient, silentLogger, systemClock } from '@brink/runtime';
import { end, freePorts, untilReady } from './up.ts';

const module = join(import.meta.dirname, '../../services/inference/src/main.ts');

export interface InferenceProcessOptions {
  /** A folder of its own: models in <folder>/models, data and sockets beside them. */
  readonly folder: string;
  readonly models?: Readonly<Record<string, Partial<ModelPolicy>>>;
  readonly env?: Readonly<Record<string, string>>;
}

/** What a unit brings: its tensors in the order of the passport. */
export interface UnitTensor {
  readonly dtype: 'uint8' | 'float32';
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export interface DecideOptions {
  readonly model: string;
  readonly priority?: number;
  readonly shadow?: boolean;
  readonly deadlineMs?: number;
}

export type InferenceProcess = Awaited<ReturnType<typeof startInferenceProcess>>;
export type Gateway = Awaited<ReturnType<typeof dialInference>>;

/**
 * The inference service alone, as a process of its own, and a gateway's link to it; ready when every model is. It ends with
 * whoever started it, even by kill -9.
 */
export async function startInferenceProcess(o: InferenceProcessOptions) {
  const [http, grpc, ops] = (await freePorts(3)) as [number, number, number];
  const socket = join(o.folder, 'link.sock');
  const data = join(o.folder, 'data');
  mkdirSync(data, { recursive: true });
  const kept = { revision: '0123456789ab', configuration: { version: 1, models: o.models ?? {} } };
  writeFileSync(join(data, 'configuration.json'), JSON.stringify(kept));
  const child = spawn(process.execPath, [module], {
    stdio: ['pipe', 'ignore', 'inherit'],
    env: {
      ...process.env,
      BRINK_PARENT_PIPE: '1',
      BRINK_LOG_LEVEL: 'error',
      BRINK_MODELS_DIR: join(o.folder, 'models'),
      BRINK_DATA_DIR: data,
      BRINK_LINK_LISTEN: `unix:${socket}`,
      BRINK_HTTP_PORT: String(http),
      BRINK_GRPC_PORT: String(grpc),
      BRINK_OPS_PORT: String(ops),
      // Nobody listens there: it needs no broker.
      BRINK_MQTT_URL: 'mqtt://127.0.0.1:1',
      ...o.env,
    },
  });
  const ended = once(child, 'exit').then(([code, signal]) => {
    throw new Error(`the inference service ended with ${code ?? signal}`);
  });
  ended.catch(() => {});
  await Promise.race([untilReady(`http://127.0.0.1:${ops}/readyz`), ended]);
  const gateway = await dialInference(socket);

  return {
    pid: child.pid as number,
    /** where its link listens */
    socket,
    http: `http://127.0.0.1:${http}`,
    grpc: `127.0.0.1:${grpc}`,
    ops: `http://127.0.0.1:${ops}`,
    ...gateway,
    async [Symbol.asyncDispose]() {
      await gateway.stop();
      await end(child);
    },
  };
}

/** A gateway's end of the link. Resolves when every model is ready. */
export async function dialInference(path: string, instance = 'gateway-bench') {
  let announced: readonly link.ModelState[] = [];
  const told = Promise.withResolvers<void>();
  const client = createLinkClient(
    { service: 'gateway', instance, window: 8, frameBytesMax: 2 ** 26, connect: { path } },
    {
      handlers: {
        announce: async ({ models }) => {
          announced = models;
          const failed = models.find(({ state }) => state === 'failed');
          if (failed !== undefined) told.reject(new Error(`${failed.name} failed: ${failed.reason}`));
          if (models.length > 0 && models.every(({ state }) => state === 'ready')) told.resolve();
          return { body: { case: 'done', value: {} } };
        },
      },
      logger: silentLogger,
      clock: systemClock,
      random: Math.random,
    },
  );
  await client.start(AbortSignal.timeout(10_000));
  await told.promise;

  /** One Decide. @returns one result per unit, in their order */
  async function decide(o: DecideOptions, units: readonly (readonly UnitTensor[])[]): Promise<link.UnitResult[]> {
    const state = announced.find(({ name, serving }) => name === o.model && serving);
    const value = {
      model: o.model,
      version: state?.version ?? 0,
      passportSha256: state?.passportSha256 ?? '',
      priority: o.priority ?? 5,
      shadow: o.shadow ?? false,
      units: units.map((tensors, index) => ({
        id: `unit-${index}`,
        deadlineMs: o.deadlineMs ?? 0,
        inputs: tensors.map(({ dtype, shape }) => ({ name: 'x', dtype, shape: [...shape] })),
      })),
    };
    const payloads = units.flatMap((tensors) => tensors.map(({ bytes }) => bytes));
    const reply = await client.request({ case: 'decide', value }, payloads);
    if (reply.body.case !== 'decided') throw new Error(`answered with ${reply.body.case}`);
    reply.release();
    return reply.body.value.results;
  }

  return {
    decide,
    announced: () => announced,
    stop: () => client.stop(),
  };
}
