import { createDeviceUsers } from '@brink/broker/users';
import { type CredentialStore, checkDeviceName } from './credentials.ts';

/**
 * The embedded broker: a file that control writes and the broker reads again within a quarter of a second.
 * @param o.required the broker takes nobody without credentials. Else devices of this machine need none, and get none unless they have
 * some already: a device with credentials can no longer come without
 */
export function createFileCredentials(o: { readonly file: string; readonly required: boolean }): CredentialStore {
  const users = createDeviceUsers(o.file);
  return {
    async create(device) {
      checkDeviceName(device);
      if (!o.required && !(await users.has(device))) {
        const detail = 'devices on this machine need no user name and password here; connect as you are';
        return { needed: false, device, detail };
      }
      const { password } = await users.put(device);
      return { needed: true, device, client_id: device, username: device, password };
    },
    async revoke(device) {
      checkDeviceName(device);
      await users.remove(device);
    },
  };
}
