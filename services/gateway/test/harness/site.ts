import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Broker, createBroker, type User } from '@brink/broker';
import { type Configuration, ConfigurationSchema, createTopics } from '@brink/protocol';
import { createLogger, createRegistry, type Logger, silentLogger, systemClock } from '@brink/runtime';
import mqtt, { type IClientPublishOptions, type MqttClient } from 'mqtt';
import type { z } from 'zod';
import { type GatewayConfig, readConfig } from '../../src/config.ts';
import { createService } from '../../src/service.ts';
import type { SpoolWorker } from '../../src/spool/spool.ts';
import { type Control, type Inference, startControl, startInference, writePassport } from './neighbours.ts';

type ConfigurationText = z.input<typeof ConfigurationSchema>;

// BRINK_TEST_LOG=debug shows what the gateway says.
const LOGGER = createLogger({ service: 'gateway', level: process.env['BRINK_TEST_LOG'] ?? 'silent', pretty: false });

export const SITE: ConfigurationText = {
  version: 1,
  streams: {
    front: {
      devices: 'cam-*',
      format: 'image',
      frame_bytes_max: 200_000,
      frame_age_ms_max: 5000,
      pipelines: { pets: { model: 'cats', priority: 8 } },
    },
    raw: { format: 'tensor', frame_age_ms_max: 5000, pipelines: { bits: { model: 'cats' } } },
  },
};

/** 4 × 4 × 3, what the model `cats` takes. */
export const tensor = (fill = 7) => Buffer.alloc(48, fill);

const USERS: User[] = [
  { username: 'gateway', role: 'gateway', password: 'gateway-password' },
  { username: 'control', role: 'control', password: 'control-password' },
];

/** One gateway on a real broker, between a real link server for inference and one for control. */
export async function startSite(
  o: {
    configuration?: ConfigurationText;
    config?: Partial<GatewayConfig>;
    inference?: false;
    control?: false;
    failpoint?: (name: string) => void;
    logger?: Logger;
    spoolWorker?: SpoolWorker;
    /** Default: an embedded broker of its own. */
    brokerUrl?: string;
  } = {},
) {
  const folder = await mkdtemp(join(tmpdir(), 'brink-gw-'));
  const clock = systemClock;
  const registry = createRegistry('broker');
  const broker: Broker = createBroker(
    { host: '127.0.0.1', port: 0, anonymous: 'loopback', users: USERS },
    { logger: silentLogger, clock, registry },
  );
  await broker.start(new AbortController().signal);
  const url = o.brokerUrl ?? broker.url;
  const topics = createTopics();
  const paths = { inference: join(folder, 'i.sock'), control: join(folder, 'c.sock'), models: join(folder, 'models') };
  const cats = await writePassport(paths.models, { name: 'cats' });
  let inference: Inference | undefined;
  let control: Control | undefined;
  const client: MqttClient = await mqtt.connectAsync(url, {
    protocolVersion: 4,
    clientId: 'tester',
    reconnectPeriod: 0,
  });

  const publisher: MqttClient = await mqtt.connectAsync(url, {
    protocolVersion: 4,
    clientId: 'publisher',
    username: 'control',
    password: 'control-password',
    reconnectPeriod: 0,
  });

  async function configure(configuration: ConfigurationText | Configuration, revision = '0123456789ab'): Promise<void> {
    await publisher.publishAsync(
      topics.filters.config,
      JSON.stringify({ revision, configuration: ConfigurationSchema.parse(configuration) }),
      {
        qos: 1,
        retain: true,
      },
    );
  }

  async function startNeighbours(which: { inference?: boolean; control?: boolean }): Promise<void> {
    if (which.inference === true) {
      inference = await startInference(paths.inference);
      await inference.announce([cats]);
    }
    if (which.control === true) control = await startControl(paths.control);
  }

  await startNeighbours({ inference: o.inference !== false, control: o.control !== false });
  await configure(o.configuration ?? SITE);
  await writeFile(join(folder, 'password'), 'gateway-password');
  const env = {
    BRINK_MQTT_URL: url,
    BRINK_MQTT_USERNAME: 'gateway',
    BRINK_MQTT_PASSWORD_FILE: join(folder, 'password'),
    BRINK_DATA_DIR: join(folder, 'data'),
    BRINK_MODELS_DIR: paths.models,
    BRINK_RECORDINGS_DIR: join(folder, 'recordings'),
    BRINK_SECRETS_DIR: join(folder, 'secrets'),
    BRINK_INFERENCE_LINK: `unix:${paths.inference}`,
    BRINK_CONTROL_LINK: `unix:${paths.control}`,
    BRINK_OPS_PORT: '0',
  };
  const build = () =>
    createService(
      { ...readConfig(env), ...o.config },
      {
        ...{ logger: o.logger ?? LOGGER, clock, random: Math.random },
        ...(o.failpoint === undefined ? {} : { failpoint: o.failpoint }),
        ...(o.spoolWorker === undefined ? {} : { spoolWorker: o.spoolWorker }),
      },
    );
  let service = build();
  await service.start(new AbortController().signal);
  const site = {
    folder,
    broker,
    client,
    topics,
    cats,
    modelsDir: paths.models,
    /** Of a gateway process. */
    env,
    get service() {
      return service;
    },
    /** A new gateway process on the same folder, as far as one can tell. */
    async restart(): Promise<void> {
      service = build();
      await service.start(new AbortController().signal);
    },
    configure,
    forgetConfiguration: () => publisher.publishAsync(topics.filters.config, '', { qos: 1, retain: true }),
    startNeighbours,
    get inference(): Inference {
      if (inference === undefined) throw new Error('there is no inference');
      return inference;
    },
    get control(): Control {
      if (control === undefined) throw new Error('there is no control');
      return control;
    },
    publish: (topic: string, payload: Buffer | string, options?: IClientPublishOptions) =>
      client.publishAsync(topic, payload, { qos: 1, ...options }),
    frame: (device: string, stream: string, payload: Buffer | string, id?: string) =>
      client.publishAsync(`brink/${device}/up/frames/${stream}${id === undefined ? '' : `/${id}`}`, payload, {
        qos: 1,
      }),
    async ready(): Promise<void> {
      await until(
        async () => (await site.problems()).length === 0,
        () => site.problems().then((problems) => problems.join('; ')),
      );
    },
    /** Takes frames, though one neighbour is missing. @param problem what /readyz says and nothing else */
    async hears(problem: string): Promise<void> {
      const only = (problems: string[]) => problems.length === 1 && problems[0]?.includes(problem) === true;
      await until(
        async () => only(await site.problems()),
        () => site.problems().then((problems) => problems.join('; ')),
      );
    },
    async problems(): Promise<string[]> {
      const { host, port } = service.addresses.ops;
      const answer = (await (await fetch(`http://${host}:${port}/readyz`)).json()) as { problems: string[] };
      return answer.problems;
    },
    async metric(line: RegExp): Promise<number> {
      const { host, port } = service.addresses.ops;
      const text = await (await fetch(`http://${host}:${port}/metrics`)).text();
      const found = text.split('\n').find((one) => line.test(one));
      return found === undefined ? 0 : Number(found.split(' ').at(-1));
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await client.endAsync(true);
      await publisher.endAsync(true);
      await service.stop();
      await inference?.stop();
      await control?.stop();
      await broker.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
  return site;
}
export type Site = Awaited<ReturnType<typeof startSite>>;

/** Waits for a condition by looking, with a deadline. @param what is said when it does not come */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string | (() => string | Promise<string>) = 'the condition',
  limitMs = 10_000,
): Promise<void> {
  const limit = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > limit)
      throw new Error(`not within ${limitMs} ms: ${typeof what === 'string' ? what : await what()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Both laws, for every row the gateway has. */
export function expectLaws({ service }: { service: Pick<Site['service'], 'counts'> }): void {
  const { streams, pipelines } = service.counts.report();
  for (const row of [...streams, service.counts.elsewhere]) {
    if (row.received !== row.accepted + row.duplicate + row.rejected + row.dropped)
      throw new Error(`broken: ${JSON.stringify(row)}`);
  }
  for (const row of pipelines) {
    if (row.formed !== row.decided + row.expired + row.dead + row.dropped + row.pending)
      throw new Error(`broken: ${JSON.stringify(row)}`);
  }
}
