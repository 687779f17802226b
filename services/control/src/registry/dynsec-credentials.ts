import { randomBytes } from 'node:crypto';
import { BrinkError, type Topics } from '@brink/protocol';
import { z } from 'zod';
import { type CredentialStore, checkDeviceName } from './credentials.ts';
import { type Dynsec, deviceRole } from './dynsec.ts';

// 256 bits: nobody guesses them, so a fast hash at the broker is right. People never choose device passwords.
const PASSWORD_BYTES = 32;

const names = (key: string) => z.array(z.looseObject({ [key]: z.string() })).default([]);
const FoundSchema = z.looseObject({
  client: z.looseObject({ roles: names('rolename'), groups: names('groupname') }),
});

/** Mosquitto: a client and a role of its own for each device. Mosquitto ends the connection of a client that it deletes. */
export function createDynsecCredentials(o: { topics: Topics }, d: { dynsec: Dynsec }): CredentialStore {
  /** Clients that others made on this broker have roles of their own. @throws BrinkError E_CONFLICT */
  async function checkOurs(username: string, rolename: string): Promise<void> {
    const found = await d.dynsec.run({ command: 'getClient', username }, ['Client not found']);
    if (found === undefined) return;
    const { roles, groups } = FoundSchema.parse(found).client;
    if (groups.length === 0 && roles.every((role) => role['rolename'] === rolename)) return;
    const detail = `the broker has a client "${username}" that is no device of Brink; expected another name`;
    throw new BrinkError('E_CONFLICT', detail);
  }

  return {
    async create(device) {
      checkDeviceName(device);
      const role = deviceRole(device, o.topics);
      await checkOurs(device, role.rolename);
      const password = `brk_${device}_${randomBytes(PASSWORD_BYTES).toString('base64url')}`;
      await d.dynsec.run({ command: 'deleteClient', username: device }, ['Client not found']);
      await d.dynsec.run({ command: 'deleteRole', rolename: role.rolename }, ['Role not found']);
      await d.dynsec.run({ command: 'createRole', ...role });
      const roles = [{ rolename: role.rolename, priority: 0 }];
      await d.dynsec.run({ command: 'createClient', username: device, clientid: device, password, roles });
      return { needed: true, device, client_id: device, username: device, password };
    },
    async revoke(device) {
      checkDeviceName(device);
      const { rolename } = deviceRole(device, o.topics);
      await checkOurs(device, rolename);
      await d.dynsec.run({ command: 'deleteClient', username: device }, ['Client not found']);
      await d.dynsec.run({ command: 'deleteRole', rolename }, ['Role not found']);
    },
  };
}
