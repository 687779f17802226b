import { BrinkError, NameSchema } from '@brink/protocol';
import {
  isLoopback,
  logSettings,
  mqttSettings,
  opsSettings,
  parseLinkAddress,
  portSetting,
  readSettings,
  secretFrom,
} from '@brink/runtime';
import { z } from 'zod';

const whole = (least: number, most: number, preset: number) =>
  z.coerce.number<string>().int().min(least).max(most).default(preset);

/** Every setting of the process: name, default, unit, reason. */
export const SettingsSchema = z.object({
  ...logSettings,
  ...mqttSettings,
  ...opsSettings,
  BRINK_OPS_PORT: portSetting(9103, 'port of /livez, /readyz, /metrics'),
  BRINK_INSTANCE: NameSchema.default('control-1').describe('name of this instance in brink/fleet/control/…'),
  BRINK_DATA_DIR: z.string().default('./data/control').describe('folder of the ledger; one control per folder'),
  BRINK_RETAIN_DAYS: whole(1, 3650, 30).describe(
    'decisions, dead letters and ended actions are deleted after so many days',
  ),
  BRINK_RETAIN_ROWS: whole(1000, 1_000_000_000, 10_000_000).describe(
    'at most so many decisions; beyond, the oldest go',
  ),
  BRINK_RETAIN_BYTES: whole(1024 ** 2, 2 ** 52, 20 * 1024 ** 3).describe(
    'at most so many bytes of the ledger, and never more than half of its disk; beyond, the oldest decisions go',
  ),
  BRINK_RETAIN_SUMMARY_DAYS: whole(1, 3650, 90).describe(
    'sums by the minute are deleted after so many days; they live longer than decisions',
  ),
  BRINK_DISK_LOW_PERCENT: whole(1, 100, 90).describe('from here on the disk is said to be low'),
  BRINK_DISK_FULL_PERCENT: whole(1, 100, 95).describe(
    'from here on nothing new is taken in (E_STORAGE_FULL); what is there is settled, served and deleted',
  ),
  BRINK_DISK_SPARE_BYTES: whole(0, 2 ** 52, 4 * 1024 ** 3).describe(
    'while so many bytes are free the disk is never full, while twice as many are it is never low: 5 % of a large disk is a lot',
  ),
  BRINK_COPY_EVERY_MS: z.coerce
    .number<string>()
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .default(3_600_000)
    .describe('between two copies of the ledger in backups/ of the data folder; 0: none'),
  BRINK_COPIES_KEPT: z.coerce
    .number<string>()
    .int()
    .min(1)
    .max(1000)
    .default(3)
    .describe('copies of the ledger that stay, each as large as it'),
  BRINK_CONFIG_DIR: z.string().default('./config').describe('folder with the *.yaml files of the site'),
  BRINK_RECORDINGS_DIR: z.string().default('./data/recordings').describe('folder of recordings, which gateways write'),
  BRINK_MODELS_DIR: z.string().default('./models').describe('folder with <name>/<version>/model.json'),
  BRINK_MODELS_MB_MAX: z.coerce
    .number<string>()
    .int()
    .min(1)
    .default(4096)
    .describe('of the models folder, in MiB: an upload that would exceed it is refused'),
  BRINK_LINK_LISTEN: z.string().default('unix:data/run/control.sock').describe('where gateways dial in'),
  BRINK_LINK_TOKEN_FILE: z.string().optional().describe('file with the token that gateways present; needed over TCP'),
  BRINK_HTTP_HOST: z
    .string()
    .default('127.0.0.1')
    .describe('address of the HTTP entrance; beyond loopback it needs a token'),
  BRINK_HTTP_PORT: portSetting(8080, 'port of the HTTP entrance'),
  BRINK_HTTP_TOKEN_FILE: z
    .string()
    .optional()
    .describe('file with the token that HTTP clients present; absent: loopback only, without a token'),
  BRINK_HTTP_RATE_MAX: z.coerce
    .number<string>()
    .int()
    .min(1)
    .default(12_000)
    .describe('requests a minute that one client may make'),
  BRINK_INFERENCE_URL: z
    .url({ protocol: /^https?$/, error: 'expected http://host:port' })
    .default('http://127.0.0.1:8000')
    .describe('where /v2/… is passed on to'),
  BRINK_INFERENCE_TOKEN_FILE: z.string().optional().describe('file with the token for it, where it asks for one'),
  BRINK_SECRETS_DIR: z
    .string()
    .default('./data/secrets')
    .describe('folder of the secrets that targets name, a file each that nobody else may read'),
  BRINK_DYNSEC_USERNAME: z
    .string()
    .optional()
    .describe("Mosquitto's dynamic security: who may add devices. Absent: devices need no credentials"),
  BRINK_DEVICES_FILE: z
    .string()
    .optional()
    .describe("users file of the embedded broker's devices, which control writes (BRINK_BROKER_DEVICES_FILE there)"),
  BRINK_DEVICES_CREDENTIALS: z
    .enum(['required', 'optional'])
    .default('required')
    .describe('with that file, optional: the broker takes devices of this machine without credentials too'),
  BRINK_MQTT_PUBLIC_URL: z.string().optional().describe('what devices call the broker; told with their credentials'),
  BRINK_DYNSEC_PASSWORD_FILE: z.string().optional().describe('file with the password for it'),
});

type Read = ReturnType<typeof readConfig>;
/** `requestMsMax` and `heldBytesMax` are no settings: they are there so that tests of slow and large clients need be neither. */
export type ControlConfig = Omit<Read, 'ledger'> & {
  readonly ledger?: Partial<Read['ledger']>;
  readonly http: { readonly requestMsMax?: number; readonly heldBytesMax?: number };
};

/**
 * The settings, with secrets read from their files.
 * @throws BrinkError E_SETTING listing every problem
 */
export function readConfig(env: Record<string, string | undefined>) {
  const settings = readSettings(SettingsSchema, env);
  const httpToken = secretFrom(settings.BRINK_HTTP_TOKEN_FILE);
  const config = {
    instance: settings.BRINK_INSTANCE,
    dataDir: settings.BRINK_DATA_DIR,
    ledger: {
      retainDays: settings.BRINK_RETAIN_DAYS,
      retainRows: settings.BRINK_RETAIN_ROWS,
      retainBytes: settings.BRINK_RETAIN_BYTES,
      retainSummaryDays: settings.BRINK_RETAIN_SUMMARY_DAYS,
      copyEveryMs: settings.BRINK_COPY_EVERY_MS,
      copiesKept: settings.BRINK_COPIES_KEPT,
      disk: {
        lowPercent: settings.BRINK_DISK_LOW_PERCENT,
        fullPercent: settings.BRINK_DISK_FULL_PERCENT,
        spareBytes: settings.BRINK_DISK_SPARE_BYTES,
      },
    },
    configDir: settings.BRINK_CONFIG_DIR,
    recordingsDir: settings.BRINK_RECORDINGS_DIR,
    modelsDir: settings.BRINK_MODELS_DIR,
    modelsMbMax: settings.BRINK_MODELS_MB_MAX,
    secretsDir: settings.BRINK_SECRETS_DIR,
    topicRoot: settings.BRINK_TOPIC_ROOT,
    mqtt: {
      url: settings.BRINK_MQTT_URL,
      username: settings.BRINK_MQTT_USERNAME,
      password: secretFrom(settings.BRINK_MQTT_PASSWORD_FILE),
    },
    ops: { host: settings.BRINK_OPS_HOST, port: settings.BRINK_OPS_PORT },
    link: { listen: parseLinkAddress(settings.BRINK_LINK_LISTEN), token: secretFrom(settings.BRINK_LINK_TOKEN_FILE) },
    http: {
      host: settings.BRINK_HTTP_HOST,
      port: settings.BRINK_HTTP_PORT,
      token: httpToken,
      rateMax: settings.BRINK_HTTP_RATE_MAX,
    },
    inference: { url: settings.BRINK_INFERENCE_URL, token: secretFrom(settings.BRINK_INFERENCE_TOKEN_FILE) },
    publicUrl: settings.BRINK_MQTT_PUBLIC_URL,
    devicesFile:
      settings.BRINK_DEVICES_FILE === undefined
        ? undefined
        : { file: settings.BRINK_DEVICES_FILE, required: settings.BRINK_DEVICES_CREDENTIALS === 'required' },
    dynsec:
      settings.BRINK_DYNSEC_USERNAME === undefined
        ? undefined
        : { username: settings.BRINK_DYNSEC_USERNAME, password: secretFrom(settings.BRINK_DYNSEC_PASSWORD_FILE) },
  };
  if (httpToken === undefined && !isLoopback(config.http.host)) {
    throw new BrinkError(
      'E_SETTING',
      `BRINK_HTTP_HOST is "${config.http.host}" but there is no token; expected BRINK_HTTP_TOKEN_FILE, or 127.0.0.1`,
    );
  }
  return config;
}
