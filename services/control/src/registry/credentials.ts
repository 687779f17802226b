import { randomBytes } from 'node:crypto';
import type { Credentials, Topics } from '@brink/protocol';
import { type Dynsec, deviceRole } from './dynsec.ts';

/** Who may speak for a device. */
export interface CredentialStore {
  /** New ones; the ones before stop working. */
  create(device: string): Promise<Credentials>;
  /** The device is disconnected and cannot come back. */
  revoke(device: string): Promise<void>;
}

// 256 bits: nobody guesses them, so a fast hash at the broker is right. People never choose device passwords.
const PASSWORD_BYTES = 32;

export function createDynsecCredentials(o: { topics: Topics }, d: { dynsec: Dynsec }): CredentialStore {
  return {
    async create(device) {
      const role = deviceRole(device, o.topics);
      const password = randomBytes(PASSWORD_BYTES).toString('base64url');
      await d.dynsec.run({ command: 'deleteClient', username: device }, ['Client not found']);
      await d.dynsec.run({ command: 'deleteRole', rolename: role.rolename }, ['Role not found']);
      await d.dynsec.run({ command: 'createRole', ...role });
      const roles = [{ rolename: role.rolename, priority: 0 }];
      await d.dynsec.run({ command: 'createClient', username: device, clientid: device, password, roles });
      return { needed: true, device, client_id: device, username: device, password };
    },
    async revoke(device) {
      const { rolename } = deviceRole(device, o.topics);
      await d.dynsec.run({ command: 'deleteClient', username: device }, ['Client not found']);
      await d.dynsec.run({ command: 'deleteRole', rolename }, ['Role not found']);
    },
  };
}

/** Under `npm start` the broker takes everyone on loopback and no one from elsewhere. */
export function createNoCredentials(): CredentialStore {
  return {
    create: (device) =>
      Promise.resolve({
        needed: false,
        device,
        detail: 'this broker takes devices on this machine without user name and password; connect as you are',
      }),
    revoke: () => Promise.resolve(),
  };
}
