import { randomBytes } from 'node:crypto';
import type { Topics } from '@brink/protocol';
import { type CredentialStore, checkDeviceName } from './credentials.ts';
import { type Dynsec, deviceRole } from './dynsec.ts';

// 256 bits: nobody guesses them, so a fast hash at the broker is right. People never choose device passwords.
const PASSWORD_BYTES = 32;

/** Mosquitto: a client and a role of its own for each device. Mosquitto ends the connection of a client that it deletes. */
export function createDynsecCredentials(o: { topics: Topics }, d: { dynsec: Dynsec }): CredentialStore {
  return {
    async create(device) {
      checkDeviceName(device);
      const role = deviceRole(device, o.topics);
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
      await d.dynsec.run({ command: 'deleteClient', username: device }, ['Client not found']);
      await d.dynsec.run({ command: 'deleteRole', rolename }, ['Role not found']);
    },
  };
}
