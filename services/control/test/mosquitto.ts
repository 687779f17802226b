import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { createMqtt, type Mqtt, silentLogger, systemClock } from '@brink/runtime';

const run = promisify(execFile);
const IMAGE = 'eclipse-mosquitto:2';

// As deploy/mosquitto does it, with a password that only this container ever has.
const START = `set -e
mosquitto_ctrl dynsec init /tmp/dynsec.json admin admin-secret
plugin=$(find /usr/lib /usr/local/lib /lib -name mosquitto_dynamic_security.so 2>/dev/null | head -n 1)
printf 'user root\\nlistener 1883\\nallow_anonymous false\\nuse_username_as_clientid true\\nplugin %s\\nplugin_opt_config_file /tmp/dynsec.json\\n' "$plugin" > /tmp/m.conf
exec mosquitto -c /tmp/m.conf`;

/** Why there is no engine with the image; it is never pulled here. */
export const noEngine = (): Promise<string | undefined> =>
  run('docker', ['image', 'inspect', IMAGE]).then(
    () => undefined,
    () => `no Docker engine with the image ${IMAGE}`,
  );

/** A real Mosquitto with dynamic security, its administrator `admin`, `admin-secret`. */
export async function startMosquitto() {
  const args = ['run', '--detach', '--rm', '--publish', '127.0.0.1::1883', '--entrypoint', '/bin/sh'];
  const { stdout } = await run('docker', [...args, IMAGE, '-c', START]);
  const id = stdout.trim();
  const { stdout: mapped } = await run('docker', ['port', id, '1883']);
  const url = `mqtt://${mapped.trim().split('\n')[0]}`;
  const clients: Mqtt[] = [];
  return {
    url,
    /** Keeps trying, as every client does. */
    connect(username: string, password: string): Mqtt {
      const client = createMqtt(
        { url, clientId: username, username, password, clean: true, capMs: 200 },
        { logger: silentLogger, clock: systemClock, random: Math.random },
      );
      clients.push(client);
      client.start(new AbortController().signal).catch(() => {});
      return client;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(clients.map((client) => client.stop()));
      await run('docker', ['kill', id]).catch(() => {});
    },
  };
}
