import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { openDataFolder } from '@brink/runtime';

/** Users of the embedded broker. A dot keeps them apart from devices. */
const SERVICES = ['gateway', 'inference', 'control'] as const;
export type ServiceName = (typeof SERVICES)[number];

/** What one run of `brink up` uses on disk. */
export interface Place {
  readonly data: string;
  readonly logs: string;
  /** Paths of the unix sockets. */
  readonly sockets: { readonly inference: string; readonly control: string };
  /** The broker's users, by hash. */
  readonly usersFile: string;
  /** Its devices, by hash; control writes it. It stays from run to run, as everything in this folder. */
  readonly devicesFile: string;
  /** The token of the HTTP entrance; there with `lan`. */
  readonly tokenFile: string;
  /** Passwords of the simulated devices; there with `lan`. */
  readonly simulatedFile: string;
  passwordFile(service: ServiceName): string;
  release(): Promise<void>;
}

/** sun_path is 108 bytes with its end on Linux, 104 on macOS. */
const SOCKET_PATH_BYTES_MAX = process.platform === 'darwin' ? 103 : 107;

/**
 * Takes the data folder for this run and lays out run/ (sockets, credentials of this run) and logs/.
 * @param lan the network may come in: a token for HTTP, and credentials for the simulated devices of these names
 * @throws BrinkError E_LOCKED when another `brink up` has it, E_STORAGE_READONLY, E_STORAGE_FULL
 */
export async function takePlace(data: string, lan?: { readonly simulated: readonly string[] }): Promise<Place> {
  const folder = await openDataFolder(data).catch((reason: unknown) => {
    const error = BrinkError.from(reason);
    if (error.code !== 'E_LOCKED') throw error;
    const pid = /"pid":(\d+)/.exec(error.detail)?.[1] ?? 'unknown';
    const detail = `${data} is in use by another process (pid ${pid}); stop that one, or choose another folder with --data`;
    throw new BrinkError('E_LOCKED', detail, { cause: error });
  });
  try {
    const run = join(data, 'run');
    const logs = join(data, 'logs');
    await mkdir(run, { recursive: true, mode: 0o700 });
    await chmod(run, 0o700);
    await mkdir(logs, { recursive: true });
    const sockets = await socketFolder(run);
    const kept = join(data, 'credentials');
    const tokenFile = join(kept, 'http-token');
    const simulatedFile = join(run, 'simulated.json');
    await mkdir(kept, { recursive: true, mode: 0o700 });
    await writeCredentials(run, simulatedFile, lan?.simulated ?? []);
    if (lan !== undefined && !existsSync(tokenFile)) await secretFile(tokenFile, randomSecret());
    return {
      data,
      logs,
      sockets: { inference: join(sockets, 'inference.sock'), control: join(sockets, 'control.sock') },
      usersFile: join(run, 'users.json'),
      devicesFile: join(kept, 'devices.json'),
      tokenFile,
      simulatedFile,
      passwordFile: (service) => join(run, `${service}.password`),
      async release() {
        if (sockets !== run) await rm(sockets, { recursive: true, force: true });
        for (const service of SERVICES) await rm(join(run, `${service}.password`), { force: true });
        await rm(simulatedFile, { force: true });
        await folder.release();
      },
    };
  } catch (error) {
    await folder.release();
    throw error;
  }
}

/** Beside the data, or, where that path is too long for a socket, a private folder under the system's own. */
async function socketFolder(run: string): Promise<string> {
  if (Buffer.byteLength(join(run, 'inference.sock')) <= SOCKET_PATH_BYTES_MAX) return run;
  const short = await mkdtemp(join(tmpdir(), 'brink-'));
  if (Buffer.byteLength(join(short, 'inference.sock')) > SOCKET_PATH_BYTES_MAX) {
    await rm(short, { recursive: true, force: true });
    throw new BrinkError(
      'E_SETTING',
      `both ${run} and ${tmpdir()} are too long for a unix socket; choose a shorter --data or TMPDIR`,
    );
  }
  return short;
}

/** New for each run. Files, because a command line and an environment can be read by others. */
async function writeCredentials(run: string, simulatedFile: string, simulated: readonly string[]): Promise<void> {
  const users = [];
  const user = (username: string, role: string, password: string) => ({
    ...{ username, role },
    sha256: createHash('sha256').update(password).digest('hex'),
  });
  for (const service of SERVICES) {
    const password = randomSecret();
    await secretFile(join(run, `${service}.password`), password);
    users.push(user(`brink.${service}`, service, password));
  }
  const passwords = Object.fromEntries(simulated.map((device) => [device, randomSecret()]));
  for (const [device, password] of Object.entries(passwords)) users.push(user(device, 'device', password));
  if (simulated.length > 0) await secretFile(simulatedFile, JSON.stringify(passwords));
  await secretFile(join(run, 'users.json'), JSON.stringify({ users }));
}

const randomSecret = () => `brk_${randomBytes(32).toString('base64url')}`;

async function secretFile(path: string, text: string): Promise<void> {
  await rm(path, { force: true });
  await writeFile(path, text, { mode: 0o600, flag: 'wx' });
}
