import { NameSchema } from '@brink/protocol';
import {
  logSettings,
  mqttSettings,
  opsSettings,
  parseLinkAddress,
  portSetting,
  readSettings,
  secretFrom,
} from '@brink/runtime';
import { z } from 'zod';

const count = (initial: number, min: number, max: number, describe: string) =>
  z.coerce.number<string>().int().min(min).max(max).default(initial).describe(describe);

/** Every setting of the gateway. Keys are the names of the environment variables. */
export const SettingsSchema = z.object({
  ...logSettings,
  ...mqttSettings,
  ...opsSettings,
  BRINK_OPS_PORT: portSetting(9101, 'port of /livez, /readyz, /metrics'),
  BRINK_INSTANCE: NameSchema.default('gateway-1').describe(
    'name of this process in status, metrics, links and evidence',
  ),
  BRINK_DATA_DIR: z
    .string()
    .default('./data/gateway')
    .describe('spool of the durable streams, and the last configuration that was applied; one gateway per folder'),
  BRINK_MODELS_DIR: z.string().default('./models').describe('folder of <name>/<version>/model.json'),
  BRINK_INFERENCE_LINK: z
    .string()
    .default('unix:data/run/inference.sock')
    .describe('where inference listens: unix:<path> or tcp://host:port'),
  BRINK_CONTROL_LINK: z.string().default('unix:data/run/control.sock').describe('where control listens'),
  BRINK_LINK_TOKEN_FILE: z.string().optional().describe('file with what we present on the links; needed for tcp'),
  BRINK_DECODE_CHILDREN: count(1, 1, 64, 'processes that decode pictures, each one core at most'),
  BRINK_DECODE_MS_MAX: count(5000, 100, 60_000, 'ms; a decode that takes longer is ended with SIGKILL'),
  BRINK_DECODE_MEMORY_MB_MAX: count(
    512,
    128,
    65_536,
    'MB that one of them may take beyond what it holds when it is up; what needs more ends it',
  ),
  BRINK_SECRETS_DIR: z.string().default('./data/secrets').describe('folder of the keys that masks name, a file each'),
  BRINK_KEEP_BYTES_MAX: count(128 * 1024 * 1024, 1_000_000, 2 ** 36, 'bytes of all frames in memory for recordings'),
  BRINK_KEEP_SOURCE_BYTES_MAX: count(
    32 * 1024 * 1024,
    100_000,
    2 ** 36,
    'bytes of the same, of one stream of a device',
  ),
  BRINK_RECORDINGS_DIR: z.string().default('./data/recordings').describe('folder of recordings, which control reads'),
  BRINK_RECORDINGS_BYTES_MAX: count(10 * 1024 ** 3, 1_000_000, 2 ** 50, 'bytes of all recordings; the oldest go first'),
  BRINK_RECORDINGS_AGE_S_MAX: count(30 * 86_400, 60, 3660 * 86_400, 's; a recording that is older is removed'),
  BRINK_RECORDING_BYTES_MAX: count(256 * 1024 * 1024, 100_000, 2 ** 36, 'bytes of one recording; then it is cut'),
  BRINK_PIXELS_MAX: count(16_000_000, 1, 268_402_689, 'pixels of a picture; more is refused by its header'),
  BRINK_SOURCES_MAX: count(10_000, 1, 10_000, 'streams of devices that are kept apart; frames of more are refused'),
  BRINK_WINDOW_BYTES_MAX: count(
    256 * 1024 * 1024,
    1_000_000,
    2 ** 36,
    'bytes of samples that wait for whole windows; beyond, frames of devices that have none yet are refused',
  ),
  BRINK_OUTCOMES_MAX: count(20_000, 100, 1_000_000, 'outcomes that wait for control; beyond, the oldest is dropped'),
  BRINK_OUTCOME_BYTES_MAX: count(64 * 1024 * 1024, 1_000_000, 2 ** 31, 'bytes of the same'),
  BRINK_SPOOL_ROWS_MAX: count(
    100_000,
    1,
    10_000_000,
    'frames of one durable stream in the spool; beyond, none is taken',
  ),
  BRINK_SPOOL_BYTES_MAX: count(1024 ** 3, 1, 2 ** 40, 'bytes of the same'),
  BRINK_SPOOL_AGE_S_MAX: count(7 * 86_400, 1, 366 * 86_400, 's; a frame in the spool that is older expires'),
});

export type GatewayConfig = ReturnType<typeof readConfig>;

/**
 * The settings, with secrets read from their files.
 * @throws BrinkError E_SETTING listing every problem
 */
export function readConfig(env: Record<string, string | undefined>) {
  const settings = readSettings(SettingsSchema, env);
  const token = secretFrom(settings.BRINK_LINK_TOKEN_FILE);
  const username = settings.BRINK_MQTT_USERNAME;
  const password = secretFrom(settings.BRINK_MQTT_PASSWORD_FILE);
  return {
    instance: settings.BRINK_INSTANCE,
    dataDir: settings.BRINK_DATA_DIR,
    modelsDir: settings.BRINK_MODELS_DIR,
    topicRoot: settings.BRINK_TOPIC_ROOT,
    mqtt: {
      url: settings.BRINK_MQTT_URL,
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
    },
    ops: { host: settings.BRINK_OPS_HOST, port: settings.BRINK_OPS_PORT },
    inference: { connect: parseLinkAddress(settings.BRINK_INFERENCE_LINK), ...(token === undefined ? {} : { token }) },
    control: { connect: parseLinkAddress(settings.BRINK_CONTROL_LINK), ...(token === undefined ? {} : { token }) },
    decode: {
      children: settings.BRINK_DECODE_CHILDREN,
      deadlineMs: settings.BRINK_DECODE_MS_MAX,
      pixelsMax: settings.BRINK_PIXELS_MAX,
      memoryBytesMax: settings.BRINK_DECODE_MEMORY_MB_MAX * 2 ** 20,
    },
    secretsDir: settings.BRINK_SECRETS_DIR,
    keep: { bytesMax: settings.BRINK_KEEP_BYTES_MAX, sourceBytesMax: settings.BRINK_KEEP_SOURCE_BYTES_MAX },
    record: {
      dir: settings.BRINK_RECORDINGS_DIR,
      bytesMax: settings.BRINK_RECORDINGS_BYTES_MAX,
      ageMsMax: settings.BRINK_RECORDINGS_AGE_S_MAX * 1000,
      oneBytesMax: settings.BRINK_RECORDING_BYTES_MAX,
    },
    sourcesMax: settings.BRINK_SOURCES_MAX,
    windows: { bytesMax: settings.BRINK_WINDOW_BYTES_MAX },
    spool: {
      rowsMax: settings.BRINK_SPOOL_ROWS_MAX,
      bytesMax: settings.BRINK_SPOOL_BYTES_MAX,
      ageMsMax: settings.BRINK_SPOOL_AGE_S_MAX * 1000,
    },
    outcomes: { rowsMax: settings.BRINK_OUTCOMES_MAX, bytesMax: settings.BRINK_OUTCOME_BYTES_MAX },
  };
}
