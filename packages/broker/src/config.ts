import { FRAME_BYTES_MAX } from '@brink/protocol';
import { logSettings, mqttSettings, opsSettings, portSetting } from '@brink/runtime';
import { z } from 'zod';
import { DEFAULT_LIMITS } from './limits.ts';

/** Process settings of the embedded broker. The rest of its limits (limits.ts) are not for turning. */
export const SettingsSchema = z.object({
  ...logSettings,
  ...opsSettings,
  BRINK_OPS_PORT: portSetting(9104, 'port of /livez, /readyz, /metrics'),
  BRINK_TOPIC_ROOT: mqttSettings.BRINK_TOPIC_ROOT,
  BRINK_BROKER_HOST: z
    .string()
    .default('127.0.0.1')
    .describe('address to listen at; beyond loopback every client needs credentials'),
  BRINK_BROKER_PORT: portSetting(1883, 'TCP port for MQTT'),
  BRINK_BROKER_ANONYMOUS: z
    .enum(['loopback', 'never'])
    .default('loopback')
    .describe('loopback: clients of this box need no credentials and act as operators; only with a loopback address'),
  BRINK_BROKER_USERS_FILE: z
    .string()
    .optional()
    .describe('JSON file {"users":[{username, role, password or sha256}]}; read again when it changes'),
  BRINK_BROKER_CONNECTIONS_MAX: z.coerce
    .number<string>()
    .int()
    .min(1)
    .max(100_000)
    .default(DEFAULT_LIMITS.connectionsMax)
    .describe('sockets at the same time; each costs a file descriptor and some 20 KB'),
  BRINK_FRAME_BYTES_MAX: z.coerce
    .number<string>()
    .int()
    .min(1024)
    .max(FRAME_BYTES_MAX)
    .default(FRAME_BYTES_MAX)
    .describe('bytes of one message; the default is the most a stream may allow, so that the gateway refuses by name'),
});
export type Settings = z.infer<typeof SettingsSchema>;
