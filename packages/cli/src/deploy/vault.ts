import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { type DynamicSecurity, dynamicSecurity } from './dynsec.ts';

export interface VaultOptions {
  /** Where every secret lies once; only `init` reads it. */
  readonly vault: string;
  /** One folder per service, each mounted into that service alone. */
  readonly secrets: string;
  /** The data folder of Mosquitto, for dynamic-security.json. */
  readonly mosquitto: string;
  /** First level of every topic. */
  readonly root: string;
  /** Who reads: user ids of the services and of Mosquitto. Undefined: no change of owner (not root). */
  readonly owners?: { readonly service: number; readonly mosquitto: number };
}

const SERVICE_USERS = ['gateway', 'inference', 'control', 'registrar', 'operator', 'health'] as const;
const SECRETS = [...SERVICE_USERS.map((name) => `mqtt-${name}` as const), 'http-token', 'inference-token'] as const;
type Secrets = Record<(typeof SECRETS)[number], string>;

/** Which service reads which secret, under which file name. */
const HANDED_OUT: readonly { service: string; file: string; text: (secrets: Secrets) => string }[] = [
  { service: 'gateway', file: 'mqtt-password', text: (s) => s['mqtt-gateway'] },
  { service: 'inference', file: 'mqtt-password', text: (s) => s['mqtt-inference'] },
  { service: 'inference', file: 'http-token', text: (s) => s['inference-token'] },
  { service: 'control', file: 'mqtt-password', text: (s) => s['mqtt-control'] },
  { service: 'control', file: 'registrar-password', text: (s) => s['mqtt-registrar'] },
  { service: 'control', file: 'operator-password', text: (s) => s['mqtt-operator'] },
  { service: 'control', file: 'http-token', text: (s) => s['http-token'] },
  { service: 'control', file: 'inference-token', text: (s) => s['inference-token'] },
  // The options of mosquitto_sub in the broker's health check, so that the password is on no command line.
  {
    service: 'mosquitto',
    file: 'mosquitto_sub',
    text: (s) => `-u brink.health\n-P ${s['mqtt-health']}\n-i brink-health`,
  },
];

/**
 * Generates every credential that is not there yet, gives each service its own as files 0400, and writes the broker's roles.
 * A repeat changes nothing; what was lost or altered is made again from the vault. Prints and returns no secret.
 * @returns the paths that were written
 * @throws BrinkError E_STORAGE_READONLY, E_STORAGE_CORRUPT where dynamic-security.json is not JSON
 */
export async function initialise(o: VaultOptions): Promise<string[]> {
  const written: string[] = [];
  const secrets = {} as Secrets;
  for (const name of SECRETS) secrets[name] = await secret(join(o.vault, name), written);
  for (const { service, file, text } of HANDED_OUT) {
    const owner = service === 'mosquitto' ? o.owners?.mosquitto : o.owners?.service;
    await put(join(o.secrets, service, file), text(secrets), 0o400, owner, written);
  }
  const file = join(o.mosquitto, 'dynamic-security.json');
  const now = await dynamicSecurityAt(file);
  const passwords = Object.fromEntries(SERVICE_USERS.map((name) => [name, secrets[`mqtt-${name}`]]));
  const wanted = dynamicSecurity(now, o.root, passwords);
  if (canonical(now) !== canonical(wanted))
    await put(file, JSON.stringify(wanted, null, 2), 0o600, o.owners?.mosquitto, written);
  if (o.owners !== undefined) await chown(o.mosquitto, o.owners.mosquitto, o.owners.mosquitto);
  return written;
}

async function secret(path: string, written: string[]): Promise<string> {
  const now = (await read(path))?.trim();
  if (now !== undefined && now !== '') return now;
  const text = `brk_${randomBytes(32).toString('base64url')}`;
  await put(path, text, 0o400, undefined, written);
  return text;
}

/** Whole or not at all: written beside, then renamed. Leaves a file alone that says the same and belongs to the right one. */
async function put(
  path: string,
  text: string,
  mode: number,
  owner: number | undefined,
  written: string[],
): Promise<void> {
  const before = await stat(path).catch(() => undefined);
  const same = before !== undefined && (before.mode & 0o777) === mode && (owner === undefined || before.uid === owner);
  if (same && (await read(path)) === `${text}\n`) return;
  const beside = `${path}.new`;
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(beside, `${text}\n`, { mode: 0o600 });
    await chmod(beside, mode);
    if (owner !== undefined) await chown(beside, owner, owner);
    await rename(beside, path);
  } catch (error) {
    throw new BrinkError('E_STORAGE_READONLY', `${path} cannot be written: ${BrinkError.from(error).message}`, {
      cause: error,
    });
  }
  written.push(path);
}

async function read(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new BrinkError('E_STORAGE_READONLY', `${path} cannot be read: ${BrinkError.from(error).message}`, {
      cause: error,
    });
  }
}

async function dynamicSecurityAt(file: string): Promise<DynamicSecurity | undefined> {
  const text = await read(file);
  if (text === undefined || text.trim() === '') return undefined;
  try {
    return JSON.parse(text) as DynamicSecurity;
  } catch (error) {
    throw new BrinkError(
      'E_STORAGE_CORRUPT',
      `${file} is not JSON; restore it, or delete it and register the devices again`,
      {
        cause: error,
      },
    );
  }
}

/** Keys and lists in one order: Mosquitto writes them in its own. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).sort().join()}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? '';
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonical(item)}`).join()}}`;
}
