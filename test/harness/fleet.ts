import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Broker, createBroker, type Role } from '@brink/broker';
import { createService as createControl } from '@brink/control';
import { readConfig as controlConfig } from '@brink/control/config';
import { createService as createGateway } from '@brink/gateway';
import { readConfig as gatewayConfig } from '@brink/gateway/config';
import { createService as createInference } from '@brink/inference';
import { readConfig as inferenceConfig } from '@brink/inference/config';
import { createRegistry, type Part, type Registry, silentLogger, systemClock } from '@brink/runtime';
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt';
import { api } from './api.ts';

export const repository = join(import.meta.dirname, '../..');

export interface FleetOptions {
  /** The site, as YAML or JSON; default config/ of the repository. */
  readonly configuration?: string | object;
  readonly models?: string;
  /** Settings of the services, beside those of the harness. */
  readonly env?: Record<string, string>;
  /** Default: an embedded broker of its own. */
  readonly mqtt?: { readonly url: string; readonly env?: Record<string, string> };
}

/** The whole fleet in this process, on ports that the system chose: broker, inference, control, gateway. */
export async function startFleet(options: FleetOptions = {}) {
  // Unix socket paths are short (107 bytes), so the folder stands directly under the temporary one.
  const folder = mkdtempSync(join(tmpdir(), 'brink-'));
  const deps = { logger: silentLogger, clock: systemClock, random: Math.random };
  const stack = new AsyncDisposableStack();
  stack.defer(() => rmSync(folder, { recursive: true, force: true }));
  const signal = AbortSignal.timeout(60_000);
  const run = async <P extends Part>(part: P): Promise<P> => {
    stack.defer(() => part.stop());
    await part.start(signal);
    return part;
  };
  try {
    const brokerRegistry = createRegistry('broker');
    const broker = options.mqtt === undefined ? await run(embedded(brokerRegistry)) : undefined;
    const env = environment(folder, options, broker?.url ?? (options.mqtt?.url as string));
    const inference = await run(createInference(inferenceConfig(env('inference')), deps));
    const control = await run(createControl(controlConfig(env('control')), deps));
    const gateway = await run(createGateway(gatewayConfig(env('gateway')), deps));
    const { http } = control.addresses;
    const fleet = {
      folder,
      mqttUrl: broker?.url ?? (options.mqtt?.url as string),
      broker,
      /** As its /metrics would show them. */
      brokerMetrics: () => brokerRegistry.metrics(),
      inference,
      control,
      gateway,
      api: api(`http://${http.host}:${http.port}`),
      /** An MQTT client as an operator has it; ended with the fleet. */
      async client(more: IClientOptions = {}): Promise<MqttClient> {
        const client = await connectAsync(fleet.mqttUrl, { ...more });
        stack.defer(() => client.endAsync(true));
        return client;
      },
      [Symbol.asyncDispose]: () => stack.disposeAsync(),
    };
    await fleet.api.until('/v1/status', isReady, 60_000);
    return fleet;
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

export type Fleet = Awaited<ReturnType<typeof startFleet>>;

function embedded(registry: Registry): Broker {
  return createBroker(
    { host: '127.0.0.1', port: 0, anonymous: 'loopback', users: SERVICES },
    { logger: silentLogger, clock: systemClock, registry },
  );
}

/** As `brink up` makes them, but the same at each start. */
const SERVICES = (['gateway', 'inference', 'control'] satisfies Role[]).map((role) => ({
  username: role,
  role,
  password: `password-of-${role}`,
}));

function environment(folder: string, options: FleetOptions, mqttUrl: string) {
  const config =
    options.configuration === undefined ? join(repository, 'config') : writeSite(folder, options.configuration);
  return (service: string): Record<string, string> => ({
    BRINK_MQTT_URL: mqttUrl,
    BRINK_MQTT_USERNAME: service,
    BRINK_MQTT_PASSWORD_FILE: passwordFile(folder, service),
    BRINK_DATA_DIR: join(folder, service),
    BRINK_MODELS_DIR: options.models ?? join(repository, 'models'),
    BRINK_CONFIG_DIR: config,
    BRINK_RECORDINGS_DIR: join(folder, 'recordings'),
    BRINK_SECRETS_DIR: join(folder, 'secrets'),
    BRINK_OPS_PORT: '0',
    BRINK_HTTP_PORT: '0',
    BRINK_GRPC_PORT: '0',
    BRINK_LINK_LISTEN: `unix:${join(folder, `${service}.sock`)}`,
    BRINK_INFERENCE_LINK: `unix:${join(folder, 'inference.sock')}`,
    BRINK_CONTROL_LINK: `unix:${join(folder, 'control.sock')}`,
    ...options.mqtt?.env,
    ...options.env,
  });
}

function passwordFile(folder: string, service: string): string {
  const path = join(folder, `${service}.password`);
  writeFileSync(path, `password-of-${service}`, { mode: 0o600 });
  return path;
}

function writeSite(folder: string, configuration: string | object): string {
  const text = typeof configuration === 'string' ? configuration : JSON.stringify(configuration, null, 2);
  const path = join(folder, 'config');
  mkdirSync(path);
  writeFileSync(join(path, 'site.yaml'), text);
  return path;
}

function isReady(status: unknown): boolean {
  const { services } = status as { services: ReadonlyArray<{ ready?: boolean }> };
  return services.length >= 3 && services.every((service) => service.ready === true);
}
