import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { end, freePorts, untilReady } from './up.ts';

// Control and its broker as processes of their own, without gateway and inference.

/** With millions of rows whose pages have to be summed anew. */
const READY_MS_MAX = 600_000;
const PASSWORD = 'for-the-time-of-a-test';
const root = join(import.meta.dirname, '../..');

/** @param site the configuration, as one file: JSON is YAML */
export async function startBroker(folder: string, site: object) {
  const [mqtt, ops] = (await freePorts(2)) as [number, number];
  mkdirSync(join(folder, 'config'), { recursive: true });
  writeFileSync(join(folder, 'config/site.yaml'), JSON.stringify(site));
  const users = [{ username: 'control', role: 'control', password: PASSWORD }];
  writeFileSync(join(folder, 'users.json'), JSON.stringify({ users }), { mode: 0o600 });
  writeFileSync(join(folder, 'password'), PASSWORD, { mode: 0o600 });
  const child = start('packages/broker/src/main.ts', {
    BRINK_BROKER_PORT: String(mqtt),
    BRINK_BROKER_USERS_FILE: join(folder, 'users.json'),
    BRINK_OPS_PORT: String(ops),
  });
  await untilReady(`http://127.0.0.1:${ops}/readyz`);
  return { url: `mqtt://127.0.0.1:${mqtt}`, [Symbol.asyncDispose]: async () => void (await end(child)) };
}

/** Ready when this resolves. @param folder of `startBroker`; data: name of the data folder in it */
export async function startControl(o: { folder: string; url: string; data: string }) {
  const [http, ops] = (await freePorts(2)) as [number, number];
  const socket = join(o.folder, `${o.data}.sock`);
  const began = performance.now();
  const child = start('services/control/src/main.ts', {
    BRINK_MODELS_DIR: join(o.folder, 'models'),
    BRINK_CONFIG_DIR: join(o.folder, 'config'),
    BRINK_DATA_DIR: join(o.folder, o.data),
    BRINK_RECORDINGS_DIR: join(o.folder, 'recordings'),
    BRINK_SECRETS_DIR: join(o.folder, 'secrets'),
    BRINK_LINK_LISTEN: `unix:${socket}`,
    BRINK_HTTP_PORT: String(http),
    BRINK_HTTP_RATE_MAX: '1000000',
    BRINK_OPS_PORT: String(ops),
    BRINK_MQTT_URL: o.url,
    BRINK_MQTT_USERNAME: 'control',
    BRINK_MQTT_PASSWORD_FILE: join(o.folder, 'password'),
  });
  await untilReady(`http://127.0.0.1:${ops}/readyz`, READY_MS_MAX);
  const readyMs = performance.now() - began;
  return {
    readyMs,
    pid: child.pid as number,
    /** SIGTERM, and how it ended. */
    stop: () => end(child),
    http: `http://127.0.0.1:${http}`,
    socket,
    /** A figure of /metrics, summed over its labels. */
    async metric(name: string): Promise<number> {
      const text = await (await fetch(`http://127.0.0.1:${ops}/metrics`)).text();
      const lines = text.split('\n').filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
      return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
    },
    async [Symbol.asyncDispose]() {
      await end(child);
    },
  };
}
export type Control = Awaited<ReturnType<typeof startControl>>;

function start(module: string, env: Record<string, string>): ChildProcess {
  return spawn(process.execPath, ['--disable-warning=ExperimentalWarning', join(root, module)], {
    stdio: ['pipe', 'ignore', 'inherit'],
    env: { ...process.env, BRINK_LOG_LEVEL: 'error', BRINK_PARENT_PIPE: '1', ...env },
  });
}
