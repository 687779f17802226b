import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { api } from '../harness/api.ts';
import { repository } from '../harness/fleet.ts';
import { freePorts } from '../harness/up.ts';

export const SERVICES = ['broker', 'control', 'inference', 'gateway'] as const;
export type ServiceName = (typeof SERVICES)[number];

const SCRIPTS: Record<ServiceName, string> = {
  broker: 'packages/broker/src/main.ts',
  control: 'services/control/src/main.ts',
  inference: 'services/inference/src/main.ts',
  gateway: 'services/gateway/src/main.ts',
};
const READY_MS = 60_000;

/**
 * The four services in processes of their own, that are started again whenever they end: `brink up` gives one up that ends so
 * often.
 * @param o.script Node's command line in place of that of a service, from the root of the repository
 * @param o.only these services; default all four
 * @param o.site more of the configuration: rules, targets
 */
export async function startServices(o: {
  streams: object;
  site?: object;
  only?: readonly ServiceName[];
  env?: Record<string, string>;
  script?: Partial<Record<ServiceName, readonly string[]>>;
}) {
  const folder = mkdtempSync(join(tmpdir(), 'brink-faults-'));
  const [mqttPort, httpPort, oipPort, grpcPort, ...opsPorts] = await freePorts(8);
  const names = o.only ?? SERVICES;
  const environment = environmentOf(
    folder,
    { streams: o.streams, ...o.site },
    { mqttPort, httpPort, oipPort, grpcPort },
  );
  const running = new Map<ServiceName, ChildProcess>();
  let stopping = false;
  const starts = new Map<ServiceName, number>();

  function start(name: ServiceName): void {
    if (stopping) return;
    starts.set(name, (starts.get(name) ?? 0) + 1);
    const script = o.script?.[name] ?? [SCRIPTS[name]];
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ...script], {
      cwd: repository,
      // Its end is our end, also of a killed test.
      stdio: ['pipe', 'ignore', process.env.BRINK_TEST_LOG === undefined ? 'ignore' : 'inherit'],
      env: {
        ...process.env,
        ...environment[name],
        BRINK_OPS_PORT: String(opsPorts[SERVICES.indexOf(name)]),
        BRINK_LOG_LEVEL: process.env.BRINK_TEST_LOG ?? 'silent',
        BRINK_PARENT_PIPE: '1',
        ...o.env,
      },
    });
    child.stdin?.on('error', () => {});
    running.set(name, child);
    child.once('exit', () => start(name));
  }
  for (const name of names) start(name);
  const http = api(`http://127.0.0.1:${httpPort}`);

  const services = {
    folder,
    mqtt: `mqtt://127.0.0.1:${mqttPort}`,
    http,
    /** How often each was started. */
    starts,
    async ready(): Promise<void> {
      const isReady = (status: { services: { ready?: boolean }[] }) =>
        status.services.length >= names.length - 1 && status.services.every(({ ready }) => ready === true);
      await http.until('/v1/status', isReady, READY_MS);
    },
    /** `kill -9`, and another one in its place. */
    async kill(name: ServiceName): Promise<void> {
      const child = running.get(name) as ChildProcess;
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    },
    async [Symbol.asyncDispose]() {
      stopping = true;
      const children = [...running.values()].filter(
        ({ exitCode, signalCode }) => exitCode === null && signalCode === null,
      );
      await Promise.all(
        children.map((child) => {
          const gone = once(child, 'exit');
          child.kill('SIGKILL');
          return gone;
        }),
      );
      rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    },
  };
  try {
    await services.ready();
    return services;
  } catch (error) {
    await services[Symbol.asyncDispose]();
    throw error;
  }
}

export type Services = Awaited<ReturnType<typeof startServices>>;

function environmentOf(
  folder: string,
  site: object,
  port: Record<'mqttPort' | 'httpPort' | 'oipPort' | 'grpcPort', number | undefined>,
): Record<ServiceName, Record<string, string>> {
  const config = join(folder, 'config');
  mkdirSync(config);
  writeFileSync(join(config, 'site.yaml'), JSON.stringify({ version: 1, ...site }));
  const users = SERVICES.slice(1).map((name) => ({ username: `brink.${name}`, role: name, password: `of-${name}` }));
  writeFileSync(join(folder, 'users.json'), JSON.stringify({ users }));
  const socket = (name: string) => `unix:${join(folder, `${name}.sock`)}`;
  const service = (name: ServiceName, more: Record<string, string>) => {
    writeFileSync(join(folder, `${name}.password`), `of-${name}`, { mode: 0o600 });
    return {
      BRINK_DATA_DIR: join(folder, name),
      BRINK_MODELS_DIR: join(repository, 'models'),
      BRINK_SECRETS_DIR: join(folder, 'secrets'),
      BRINK_MQTT_URL: `mqtt://127.0.0.1:${port.mqttPort}`,
      BRINK_MQTT_USERNAME: `brink.${name}`,
      BRINK_MQTT_PASSWORD_FILE: join(folder, `${name}.password`),
      ...more,
    };
  };
  return {
    broker: { BRINK_BROKER_PORT: String(port.mqttPort), BRINK_BROKER_USERS_FILE: join(folder, 'users.json') },
    control: service('control', {
      BRINK_CONFIG_DIR: config,
      BRINK_LINK_LISTEN: socket('control'),
      BRINK_HTTP_PORT: String(port.httpPort),
    }),
    inference: service('inference', {
      BRINK_LINK_LISTEN: socket('inference'),
      BRINK_HTTP_PORT: String(port.oipPort),
      BRINK_GRPC_PORT: String(port.grpcPort),
    }),
    gateway: service('gateway', { BRINK_INFERENCE_LINK: socket('inference'), BRINK_CONTROL_LINK: socket('control') }),
  };
}
