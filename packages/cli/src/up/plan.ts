import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { Place, ServiceName } from './place.ts';
import type { WantedPort } from './ports.ts';

export interface UpOptions {
  readonly data: string;
  readonly config: string;
  readonly models: string;
  readonly demo: boolean;
  /** Reachable from the network: MQTT with credentials, HTTP with a token. */
  readonly lan: boolean;
  /** First level of every topic. */
  readonly topicRoot: string;
  readonly port: number;
  readonly mqttPort: number;
  readonly oipPort: number;
  /** gateway, inference, control, broker: this one and the three after it. */
  readonly opsPort: number;
}

export type ProcessName = ServiceName | 'broker' | 'simulator';

/** One child process, as it will be started. */
export interface ProcessPlan {
  readonly name: ProcessName;
  readonly module: string;
  readonly args: readonly string[];
  /** Half of its young generation, in MiB; default 8. */
  readonly youngMb?: number;
  readonly env: Readonly<Record<string, string>>;
  /** Where /readyz is; absent: it is ready when it runs. */
  readonly ops?: string;
  /** Without it there is no loop: when it is given up, everything ends. */
  readonly needed: boolean;
}

const HOST = '127.0.0.1';
const EVERYWHERE = '0.0.0.0';
const entranceHost = ({ lan }: Pick<UpOptions, 'lan'>) => (lan ? EVERYWHERE : HOST);

export const addresses = (o: UpOptions) => ({
  http: `http://${HOST}:${o.port}`,
  mqtt: `mqtt://${HOST}:${o.mqttPort}`,
  oip: `http://${HOST}:${o.oipPort}`,
  ops: {
    gateway: `http://${HOST}:${o.opsPort}`,
    inference: `http://${HOST}:${o.opsPort + 1}`,
    control: `http://${HOST}:${o.opsPort + 2}`,
    broker: `http://${HOST}:${o.opsPort + 3}`,
  },
});

export function wantedPorts(o: UpOptions): WantedPort[] {
  return [
    { host: entranceHost(o), port: o.mqttPort, use: 'MQTT', option: '--mqtt-port' },
    { host: entranceHost(o), port: o.port, use: 'HTTP', option: '--port' },
    { host: HOST, port: o.oipPort, use: 'Open Inference Protocol', option: '--oip-port' },
    { host: HOST, port: o.oipPort + 1, use: 'Open Inference Protocol over gRPC', option: '--oip-port' },
    ...['gateway', 'inference', 'control', 'broker'].map((service, index) => ({
      host: HOST,
      port: o.opsPort + index,
      use: `health and metrics of ${service}`,
      option: '--ops-port',
    })),
  ];
}

/** How this machine is called on its network, as far as it knows: its first address that is not its own alone. */
export function publicUrl(protocol: 'mqtt' | 'http', port: number): string {
  const addresses = Object.values(networkInterfaces()).flatMap((those) => those ?? []);
  const found = addresses.find(({ family, internal }) => family === 'IPv4' && !internal);
  return `${protocol}://${found?.address ?? HOST}:${port}`;
}

/**
 * The processes in the order in which they start; they stop in reverse.
 * @param root folder of the project
 */
export function planProcesses(o: UpOptions, place: Place, root: string): ProcessPlan[] {
  const { mqtt, oip, ops } = addresses(o);
  const common = { BRINK_MODELS_DIR: o.models, BRINK_MQTT_URL: mqtt, BRINK_OPS_HOST: HOST };
  const service = (name: ServiceName, port: number, env: Record<string, string>): ProcessPlan => ({
    name,
    module: join(root, 'services', name, 'src/main.ts'),
    args: [],
    env: {
      ...common,
      BRINK_DATA_DIR: join(place.data, name),
      BRINK_MQTT_USERNAME: `brink.${name}`,
      BRINK_MQTT_PASSWORD_FILE: place.passwordFile(name),
      BRINK_OPS_PORT: String(port),
      ...env,
    },
    ops: ops[name],
    needed: true,
  });
  const inferenceLink = `unix:${place.sockets.inference}`;
  const controlLink = `unix:${place.sockets.control}`;
  // The gateway writes them, control shows them.
  const recordings = { BRINK_RECORDINGS_DIR: join(place.data, 'recordings') };
  const broker: ProcessPlan = {
    name: 'broker',
    module: join(root, 'packages/broker/src/main.ts'),
    args: [],
    // Its garbage is buffers of frames, of which V8 sees little: the small collections that free them would come too late.
    youngMb: 2,
    env: {
      BRINK_BROKER_HOST: entranceHost(o),
      BRINK_BROKER_ANONYMOUS: o.lan ? 'never' : 'loopback',
      BRINK_BROKER_PORT: String(o.mqttPort),
      BRINK_BROKER_USERS_FILE: place.usersFile,
      BRINK_BROKER_DEVICES_FILE: place.devicesFile,
      BRINK_OPS_HOST: HOST,
      BRINK_OPS_PORT: String(o.opsPort + 3),
    },
    ops: ops.broker,
    needed: true,
  };
  const simulator: ProcessPlan = {
    name: 'simulator',
    module: join(root, 'packages/device/src/simulate.ts'),
    args: [],
    env: { BRINK_MQTT_URL: mqtt, ...(o.lan ? { BRINK_SIMULATE_PASSWORDS_FILE: place.simulatedFile } : {}) },
    needed: false,
  };
  return [
    broker,
    service('control', o.opsPort + 2, {
      ...recordings,
      BRINK_CONFIG_DIR: o.config,
      BRINK_LINK_LISTEN: controlLink,
      BRINK_HTTP_HOST: entranceHost(o),
      BRINK_HTTP_PORT: String(o.port),
      BRINK_DEVICES_FILE: place.devicesFile,
      BRINK_DEVICES_CREDENTIALS: o.lan ? 'required' : 'optional',
      BRINK_INFERENCE_URL: oip,
      BRINK_SECRETS_DIR: join(place.data, 'secrets'),
      BRINK_MQTT_PUBLIC_URL: o.lan ? publicUrl('mqtt', o.mqttPort) : `mqtt://${HOST}:${o.mqttPort}`,
      ...(o.lan ? { BRINK_HTTP_TOKEN_FILE: place.tokenFile } : {}),
    }),
    service('inference', o.opsPort + 1, {
      BRINK_LINK_LISTEN: inferenceLink,
      BRINK_HTTP_HOST: HOST,
      BRINK_HTTP_PORT: String(o.oipPort),
      BRINK_GRPC_PORT: String(o.oipPort + 1),
    }),
    service('gateway', o.opsPort, {
      ...recordings,
      BRINK_SECRETS_DIR: join(place.data, 'secrets'),
      BRINK_INFERENCE_LINK: inferenceLink,
      BRINK_CONTROL_LINK: controlLink,
    }),
    ...(o.demo ? [simulator] : []),
  ];
}
