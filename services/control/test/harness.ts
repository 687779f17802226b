import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type Broker, createBroker, issuePassword } from '@brink/broker';
import { type GatewayReport, isErrorCode, type Outcome, ProblemSchema } from '@brink/protocol';
import {
  createLinkClient,
  createMqtt,
  createRegistry,
  type LinkClient,
  type LinkHandlers,
  type Mqtt,
  type MqttMessage,
  silentLogger,
  systemClock,
} from '@brink/runtime';
import { expect } from 'vitest';
import type { ControlConfig } from '../src/config.ts';
import { outcome } from '../src/ledger/ledger.testing.ts';
import { type ControlService, createService } from '../src/service.ts';

export { outcome };

export const SITE = `version: 1
site: { name: plant-7, language: zh, mqtt_allow: ["zigbee2mqtt/"] }
streams:
  front:
    devices: "cam-*"
    format: image
    frame_bytes_max: 4096
    pipelines:
      pets: { model: cifar-net }
      article: { model: simple-cnn }
rules:
  cat-at-the-flap:
    on: pets
    when: decision.label == "cat" && decision.score >= 0.6
    cooldown_ms: 60000
    stale_ms_max: 600000
    then:
      - command: { device: feeder-1, name: open, args: { grams: 20 } }
`;

const DEADLINE_MS = 5000;

type Not<T> = T | undefined | null | false;

/** Waits until the condition gives something, without a fixed pause. */
export async function until<T>(what: string | (() => string), look: () => Not<T> | Promise<Not<T>>): Promise<T> {
  const deadline = performance.now() + DEADLINE_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false && found !== null) return found;
    if (performance.now() > deadline)
      throw new Error(`not within ${DEADLINE_MS} ms: ${typeof what === 'string' ? what : what()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export interface StartOptions {
  readonly files?: Record<string, string>;
  readonly token?: string;
  readonly handlers?: LinkHandlers;
  readonly config?: Partial<ControlConfig>;
  /** Take over what another control left. */
  readonly folder?: string;
  readonly withoutBroker?: boolean;
  /** Something is wrong with it on purpose: not waited for. */
  readonly unready?: boolean;
}

export type Control = Awaited<ReturnType<typeof startControl>>;

/** One real control on a real broker, with a link that plays the gateway. */
export async function startControl(options: StartOptions = {}) {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'brink-control-')));
  const files = options.files ?? { 'site.yaml': SITE };
  await writeFiles(join(folder, 'config'), files);
  await writeFiles(join(folder, 'models'), { 'cifar-net/1/model.json': '{}', 'simple-cnn/1/model.json': '{}' });
  let broker = createTestBroker(0);
  await broker.start(new AbortController().signal);
  const port = broker.address.port;
  const config = configFor(folder, broker.url, options);
  const service: ControlService = createService(config, {
    logger: silentLogger,
    clock: systemClock,
    random: Math.random,
  });
  const gateway = createGateway(folder, options.handlers ?? {});
  const clients: Mqtt[] = [];

  async function stop(): Promise<void> {
    await gateway.stop();
    await service.stop();
    await Promise.all(clients.map((client) => client.stop()));
    await broker.stop();
  }
  try {
    await service.start(new AbortController().signal);
  } catch (error) {
    await stop();
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  await until(
    () => `control is ready: ${service.problems().join('; ')}`,
    () => options.unready === true || service.problems().length === 0,
  );
  await gateway.start(new AbortController().signal);
  await until('the link is up', () => gateway.peer !== undefined);
  const url = `http://127.0.0.1:${service.addresses.http.port}`;

  return {
    folder,
    service,
    gateway,
    url,
    brokerUrl: broker.url,
    ...requests(url, options.token),
    async commit(...outcomes: (Outcome | Record<string, unknown>)[]) {
      const payloads = outcomes.map((one) => Buffer.from(JSON.stringify(one)));
      const reply = await gateway.request({ case: 'outcomes', value: {} }, payloads);
      if (reply.body.case !== 'committed') throw new Error(`answered ${reply.body.case}`);
      return reply.body.value;
    },
    async report(report: Partial<GatewayReport>) {
      const whole: GatewayReport = {
        instance: 'gateway-1',
        at_ms: Date.now(),
        streams: [],
        pipelines: [],
        discovered: [],
        ...report,
      };
      await gateway.request({ case: 'report', value: {} }, [Buffer.from(JSON.stringify(whole))]);
    },
    /** Everything that arrives on a filter, from now on. */
    async listen(filter: string, clientId = `test-${clients.length}`): Promise<MqttMessage[]> {
      const seen: MqttMessage[] = [];
      const client = createMqtt(
        { url: broker.url, clientId, clean: true },
        { logger: silentLogger, clock: systemClock, random: Math.random },
      );
      client.subscribe(
        filter,
        { qos: 1 },
        (message) => void seen.push({ ...message, payload: Buffer.from(message.payload) }),
      );
      clients.push(client);
      await client.start(new AbortController().signal);
      return seen;
    },
    /** @param as the gateway says how it is; everybody else is a device */
    async publish(topic: string, payload: unknown, retain = false, as?: 'gateway'): Promise<void> {
      const user = as === undefined ? {} : { username: GATEWAY, password: issuedGateway.password };
      const client = createMqtt(
        { url: broker.url, clientId: `pub-${clients.length}`, clean: true, ...user },
        { logger: silentLogger, clock: systemClock, random: Math.random },
      );
      clients.push(client);
      await client.start(new AbortController().signal);
      await client.publish(topic, typeof payload === 'string' ? payload : JSON.stringify(payload), { qos: 1, retain });
    },
    write: (name: string, text: string) => writeFile(join(folder, 'config', name), text),
    /** A broker that has forgotten everything, where the old one was. */
    async restartBroker(): Promise<void> {
      await broker.stop();
      broker = createTestBroker(port);
      await broker.start(new AbortController().signal);
    },
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
      if (options.folder === undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}

const USER = 'brink.control';
const issued = issuePassword(USER);
const GATEWAY = 'brink.gateway';
const issuedGateway = issuePassword(GATEWAY);

function createTestBroker(port: number): Broker {
  return createBroker(
    {
      host: '127.0.0.1',
      port,
      anonymous: 'loopback',
      users: [
        { username: USER, role: 'control', sha256: issued.sha256 },
        { username: GATEWAY, role: 'gateway', sha256: issuedGateway.sha256 },
      ],
    },
    { logger: silentLogger, clock: systemClock, registry: createRegistry('broker') },
  );
}

function configFor(folder: string, brokerUrl: string, options: StartOptions): ControlConfig {
  return {
    instance: 'control-1',
    dataDir: join(folder, 'data'),
    configDir: join(folder, 'config'),
    modelsDir: join(folder, 'models'),
    modelsMbMax: 64,
    recordingsDir: join(folder, 'recordings'),
    secretsDir: join(folder, 'secrets'),
    topicRoot: 'brink',
    mqtt: { url: brokerUrl, username: USER, password: issued.password },
    ops: { host: '127.0.0.1', port: 0 },
    link: { listen: { path: join(folder, 'control.sock') }, token: undefined },
    http: { host: '127.0.0.1', port: 0, token: options.token, rateMax: 100_000 },
    inference: { url: 'http://127.0.0.1:9', token: undefined },
    publicUrl: undefined,
    devicesFile: undefined,
    dynsec: undefined,
    ...options.config,
  };
}

function createGateway(folder: string, handlers: LinkHandlers): LinkClient {
  return createLinkClient(
    {
      service: 'gateway',
      instance: 'gateway-1',
      connect: { path: join(folder, 'control.sock') },
      window: 8,
      frameBytesMax: 1 << 24,
    },
    { handlers, logger: silentLogger, clock: systemClock, random: Math.random },
  );
}

export async function writeFiles(folder: string, files: Record<string, string>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  readonly body: any;
}

function requests(url: string, token: string | undefined) {
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  async function ask(path: string, init: RequestInit = {}): Promise<Answer> {
    const response = await fetch(url + path, {
      ...init,
      headers: { ...headers, ...(init.headers as Record<string, string>) },
    });
    const text = await response.text();
    const type = response.headers.get('content-type') ?? '';
    const answer = {
      status: response.status,
      headers: response.headers,
      body: type.includes('json') ? JSON.parse(text) : text,
    };
    if (response.status >= 400 && !path.startsWith('/v2')) expectProblem(answer);
    return answer;
  }
  return {
    ask,
    get: (path: string) => ask(path),
    post: (path: string, body?: unknown) =>
      ask(path, {
        method: 'POST',
        ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
      }),
    delete: (path: string) => ask(path, { method: 'DELETE' }),
    /** Server-sent events, one by one. */
    async events(path: string, lastEventId?: number) {
      const abort = new AbortController();
      const response = await fetch(url + path, {
        headers: { ...headers, ...(lastEventId === undefined ? {} : { 'last-event-id': String(lastEventId) }) },
        signal: abort.signal,
      });
      return { ...readEvents(response), close: () => abort.abort() };
    },
  };
}

/** Every refusal is a problem document with a code of the one table, and the request's id. */
export function expectProblem(answer: Answer): void {
  expect(answer.headers.get('content-type')).toContain('application/problem+json');
  const problem = ProblemSchema.parse(answer.body);
  expect(isErrorCode(problem.code)).toBe(true);
  expect(problem.instance).toBe(answer.headers.get('x-request-id'));
  expect(problem.detail.length).toBeGreaterThan(3);
}

interface SseEvent {
  readonly event: string;
  readonly id: number | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into events of every shape
  readonly data: any;
}

function readEvents(response: Response) {
  const seen: SseEvent[] = [];
  void (async () => {
    let rest = '';
    const decoder = new TextDecoder();
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      rest += decoder.decode(chunk, { stream: true });
      const blocks = rest.split('\n\n');
      rest = blocks.pop() ?? '';
      for (const block of blocks) {
        const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1];
        const data = field('data');
        if (data === undefined) continue;
        const id = field('id');
        seen.push({
          event: field('event') ?? 'message',
          id: id === undefined ? undefined : Number(id),
          data: JSON.parse(data),
        });
      }
    }
  })().catch(() => {});
  return { status: response.status, headers: response.headers, seen };
}
