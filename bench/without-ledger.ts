import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { end, freePorts, untilReady } from '@brink/test/up';
import type { Payload } from './site.ts';
import { connectDevices, createLoop } from './system.ts';

const PASSWORD = 'for-the-time-of-a-bench';
const root = join(import.meta.dirname, '..');

/** Broker, gateway and inference as `brink up` runs them, with a control that keeps nothing (test/harness/no-ledger-child.ts). */
export async function startWithoutLedger(o: { folder: string; payload: Payload; devices: number }) {
  const [mqttPort, gatewayOps, inferenceOps, brokerOps, http, grpc] = (await freePorts(6)) as [number, ...number[]];
  const socket = (name: string) => join(o.folder, `${name}.sock`);
  const url = `mqtt://127.0.0.1:${mqttPort}`;
  const links = { BRINK_INFERENCE_LINK: `unix:${socket('i')}`, BRINK_CONTROL_LINK: `unix:${socket('c')}` };
  const service = (name: string, ops: number | undefined, env: Record<string, string>) =>
    start(join(root, 'services', name, 'src/main.ts'), {
      BRINK_MODELS_DIR: join(o.folder, 'models'),
      BRINK_DATA_DIR: join(o.folder, 'no-ledger', name),
      BRINK_MQTT_URL: url,
      BRINK_MQTT_USERNAME: name,
      BRINK_MQTT_PASSWORD_FILE: join(o.folder, 'password'),
      BRINK_OPS_PORT: String(ops),
      ...env,
    });
  const users = ['gateway', 'inference', 'control'].map((role) => ({ username: role, role, password: PASSWORD }));
  writeFileSync(join(o.folder, 'users.json'), JSON.stringify({ users }), { mode: 0o600 });
  writeFileSync(join(o.folder, 'password'), PASSWORD, { mode: 0o600 });
  const children = [
    start(join(root, 'packages/broker/src/main.ts'), {
      BRINK_BROKER_PORT: String(mqttPort),
      BRINK_BROKER_USERS_FILE: join(o.folder, 'users.json'),
      BRINK_OPS_PORT: String(brokerOps),
    }),
    start(join(root, 'test/harness/no-ledger-child.ts'), {
      ...{ SITE: join(o.folder, 'config/site.yaml'), MQTT: url, LINK: socket('c'), PASSWORD },
    }),
    service('inference', inferenceOps, {
      ...{ BRINK_LINK_LISTEN: `unix:${socket('i')}`, BRINK_HTTP_PORT: String(http), BRINK_GRPC_PORT: String(grpc) },
    }),
    service('gateway', gatewayOps, {
      ...links,
      BRINK_RECORDINGS_DIR: join(o.folder, 'no-ledger/recordings'),
      BRINK_SECRETS_DIR: join(o.folder, 'no-ledger/secrets'),
    }),
  ];
  await untilReady(`http://127.0.0.1:${gatewayOps}/readyz`);
  const { client, devices } = await connectDevices(url, o);
  return {
    framesPerSecond: createLoop(devices),
    async [Symbol.asyncDispose]() {
      await client.endAsync(true);
      await Promise.all(children.map(end));
    },
  };
}

function start(module: string, env: Record<string, string>): ChildProcess {
  return spawn(process.execPath, ['--disable-warning=ExperimentalWarning', module], {
    stdio: ['pipe', 'ignore', 'inherit'],
    env: { ...process.env, BRINK_LOG_LEVEL: 'error', BRINK_PARENT_PIPE: '1', ...env },
  });
}
