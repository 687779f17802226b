import { readFileSync } from 'node:fs';
import { BrinkError } from '@brink/protocol';
import { z } from 'zod';

/**
 * The process settings: read once, every problem reported at once, frozen. Keys of the schema are the names of the variables.
 * An empty variable counts as absent (compose passes `${X:-}`).
 * @throws BrinkError E_SETTING, naming every variable that is wrong, what it was and what was expected
 */
export function readSettings<S extends z.ZodObject>(schema: S, env: Record<string, string | undefined>): z.infer<S> {
  const values: Record<string, string> = {};
  for (const name of Object.keys(schema.shape)) {
    const value = env[name];
    if (value !== undefined && value !== '') values[name] = value;
  }
  const parsed = schema.safeParse(values);
  if (parsed.success) return Object.freeze(parsed.data) as z.infer<S>;
  const problems = parsed.error.issues.map((issue) => {
    const name = String(issue.path[0] ?? '');
    const value = values[name];
    if (value === undefined) return name === '' ? issue.message : `${name} is not set: ${issue.message}`;
    return `${name} is ${shown(name, value)}: ${issue.message}`;
  });
  throw new BrinkError('E_SETTING', problems.join('; '));
}

const shown = (name: string, value: string) =>
  /PASSWORD|TOKEN|SECRET/.test(name) && !name.endsWith('_FILE') ? '(not shown)' : JSON.stringify(value.slice(0, 80));

/** A TCP port; 0 lets the system choose, for tests. */
export const portSetting = (port: number, describe: string) =>
  z.coerce.number<string>().int().min(0).max(65_535).default(port).describe(describe);

export const logSettings = {
  BRINK_LOG_LEVEL: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
    .default('info')
    .describe('lines below this level are not written'),
  BRINK_LOG_PRETTY: z.stringbool().default(false).describe('readable lines instead of JSON'),
};

/** Spread it, then give the service's own port: `BRINK_OPS_PORT: portSetting(9101, …)`. */
export const opsSettings = {
  BRINK_OPS_HOST: z.string().default('127.0.0.1').describe('address of /livez, /readyz, /metrics'),
  BRINK_OPS_PORT: portSetting(9100, 'port of /livez, /readyz, /metrics'),
};

export const mqttSettings = {
  BRINK_MQTT_URL: z
    .url({ protocol: /^(mqtt|mqtts|ws|wss)$/, error: 'expected mqtt://host:port or mqtts://host:port' })
    .default('mqtt://127.0.0.1:1883')
    .describe('the broker'),
  BRINK_MQTT_USERNAME: z
    .string()
    .optional()
    .describe('absent: anonymous, which only the embedded broker on loopback allows'),
  BRINK_MQTT_PASSWORD_FILE: z.string().optional().describe('file with the password'),
  BRINK_TOPIC_ROOT: z
    .string()
    .regex(/^[^/+#$\s]+$/, 'expected one topic level')
    .default('brink')
    .describe('first level of every topic'),
};

/**
 * The secret in a file, without the line end. Secrets come in files because the environment is shown by `ps` and `docker inspect`.
 * @throws BrinkError E_SETTING when the file cannot be read or is empty
 */
export function secretFrom(file: string): string;
export function secretFrom(file: string | undefined): string | undefined;
export function secretFrom(file: string | undefined): string | undefined {
  if (file === undefined || file === '') return undefined;
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new BrinkError('E_SETTING', `the secret's file ${file} cannot be read: ${BrinkError.from(error).detail}`, {
      cause: error,
    });
  }
  const secret = text.replace(/\r?\n$/, '');
  if (secret === '') throw new BrinkError('E_SETTING', `the secret's file ${file} is empty`);
  return secret;
}

/** An address that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}
