import { statSync } from 'node:fs';
import { BrinkError } from '@brink/protocol';
import type { Clock, Logger, Part, Timer } from '@brink/runtime';
import type { Broker } from './broker.ts';
import { readUsers, readUsersIfAny, type User } from './users.ts';

/** A revoked user is gone within a second. */
const LOOK_EVERY_MS = 250;
/** Files that could not be read are tried again so often, also where they are as they were. */
const RETRY_MS = 1000;

export interface UserFiles {
  /** Who must be there: services, operators. Absent: nobody. */
  readonly users?: string | undefined;
  /** Devices, written by control; not there before the first one. */
  readonly devices?: string | undefined;
}

/**
 * Both files as one list. A device that is in both is what control says: its credentials were changed since. A service or an operator
 * stays what the first file says, whatever a device is called: who may add devices must not be able to shut them out.
 * @throws BrinkError E_SETTING, also where the devices' file names somebody who is no device
 */
export function readUserFiles({ users, devices }: UserFiles): User[] {
  const first = users === undefined ? [] : readUsers(users);
  const second = devices === undefined ? [] : readUsersIfAny(devices);
  const stranger = second.find(({ role }) => role !== 'device');
  if (stranger !== undefined)
    throw new BrinkError('E_SETTING', `${devices}: "${stranger.username}" is ${stranger.role}; expected devices only`);
  const others = new Set(first.filter(({ role }) => role !== 'device').map(({ username }) => username));
  const added = second.filter(({ username }) => !others.has(username));
  const changed = new Set(added.map(({ username }) => username));
  return [...first.filter(({ username }) => !changed.has(username)), ...added];
}

/** Reads them again when they change. Looks at time and size: events of the file system are missed on some volumes. */
export function createUsersWatch(
  files: UserFiles,
  d: { broker: Pick<Broker, 'setUsers'>; clock: Clock; logger: Logger },
): Part & { look(): void } {
  let timer: Timer | undefined;
  let seen = stamps(files);
  /** Of the files as they are: what is wrong with them, as it was said, and when they were tried last. */
  let problem: { readonly stamps: string; readonly detail: string; readonly atMs: number } | undefined;

  function again(): void {
    timer = d.clock.setTimeout(again, LOOK_EVERY_MS);
    look();
  }

  function look(): void {
    const now = stamps(files);
    if (now === seen) return;
    const atMs = d.clock.monotonic();
    if (problem?.stamps === now && atMs - problem.atMs < RETRY_MS) return;
    try {
      d.broker.setUsers(readUserFiles(files));
      seen = now;
      problem = undefined;
      d.logger.info({ ...files }, 'users were read again');
    } catch (error) {
      // Half a file, or a slip of the pen: who is known stays known. What could not be read now is tried again: somebody may
      // have been revoked in it.
      const { code, detail } = BrinkError.from(error);
      if (detail !== problem?.detail) d.logger.error({ code, detail }, 'users were not read');
      problem = { stamps: now, detail, atMs };
    }
  }

  return {
    /** Now: somebody is not known who may have become so since. */
    look,
    async start() {
      timer = d.clock.setTimeout(again, LOOK_EVERY_MS);
    },
    async stop() {
      if (timer !== undefined) d.clock.clearTimeout(timer);
    },
  };
}

const stamps = ({ users, devices }: UserFiles) => [users, devices].map(stamp).join();

function stamp(file: string | undefined): string {
  const stat = file === undefined ? undefined : statSync(file, { throwIfNoEntry: false });
  return stat === undefined ? 'absent' : `${stat.mtimeMs} ${stat.ctimeMs} ${stat.ino} ${stat.size}`;
}
