import { FRAME_BYTES_MAX } from '@brink/protocol';
import { logSettings, mqttSettings, opsSettings, portSetting } from '@brink/runtime';
import { z } from 'zod';
import { DEFAULT_LIMITS } from './limits.ts';

const wholeSetting = (max: number, preset: number, what: string) =>
  z.coerce.number<string>().int().min(1).max(max).default(preset).describe(what);

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
  BRINK_BROKER_DEVICES_FILE: z
    .string()
    .optional()
    .describe('JSON file of the same form with the devices that control gave credentials; need not be there yet'),
  BRINK_BROKER_CONNECTIONS_MAX: z.coerce
    .number<string>()
    .int()
    .min(1)
    .max(100_000)
    .default(DEFAULT_LIMITS.connectionsMax)
    .describe('sockets at the same time; each costs a file descriptor and some 20 KB'),
  BRINK_BROKER_ACCEPTS_PER_S_MAX: wholeSetting(
    100_000,
    DEFAULT_LIMITS.acceptsPerSMax,
    'new connections taken up per second; the others wait their turn',
  ),
  BRINK_BROKER_PUBLISHES_PER_S_MAX: wholeSetting(
    1_000_000,
    DEFAULT_LIMITS.publishesPerSMax,
    'messages per second of one device with credentials; beyond, it is slowed down',
  ),
  BRINK_BROKER_PUBLISH_BYTES_PER_S_MAX: wholeSetting(
    2 ** 31,
    DEFAULT_LIMITS.publishBytesPerSMax,
    'payload bytes per second of one device with credentials; beyond, it is slowed down',
  ),
  BRINK_BROKER_QUEUE_MESSAGES_MAX: wholeSetting(
    10_000_000,
    DEFAULT_LIMITS.queueMessagesMax,
    'QoS 1 messages that wait for one client that is away (the gateway, say); beyond, the newest are dropped and counted',
  ),
  BRINK_BROKER_QUEUE_BYTES_MAX: wholeSetting(
    2 ** 36,
    DEFAULT_LIMITS.queueBytesMax,
    'payload bytes of all messages that wait for clients that are away; in memory, so a restart of the broker loses them',
  ),
  BRINK_BROKER_NO_SUBSCRIBE: z
    .string()
    .default('test/nosubscribe,nosubscribe')
    .transform((list) => list.split(',').filter((filter) => filter !== ''))
    .describe(
      'filters that nobody may subscribe to, with commas between; the default is what MQTT conformance suites try',
    ),
  BRINK_FRAME_BYTES_MAX: z.coerce
    .number<string>()
    .int()
    .min(1024)
    .max(FRAME_BYTES_MAX)
    .default(FRAME_BYTES_MAX)
    .describe('bytes of one message; the default is the most a stream may allow, so that the gateway refuses by name'),
});
export type Settings = z.infer<typeof SettingsSchema>;
