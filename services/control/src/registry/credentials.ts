import { BrinkError, type Credentials, isName } from '@brink/protocol';

/** The level of the topic tree that belongs to the services. */
const RESERVED = 'fleet';

/**
 * Who may speak for a device. Two brokers keep it in their own ways: Mosquitto's dynamic security (dynsec-credentials.ts) and the
 * users file of the embedded one (file-credentials.ts). What both must hold is in credentials.testing.ts.
 */
export interface CredentialStore {
  /**
   * New ones; the ones before stop working, and who is connected with them is disconnected within a second.
   * @throws BrinkError E_NAME for what can be no device, E_CONFLICT for who is somebody else on this broker, before anything is changed; E_BROKER, E_UNAVAILABLE, E_STORAGE_FULL, E_STORAGE_READONLY; then the ones before may have ended already
   */
  create(device: string): Promise<Credentials>;
  /** Ends them; whoever is connected with them is disconnected within a second and cannot come back. None is fine too. */
  revoke(device: string): Promise<void>;
}

/** A name becomes part of topics and of rights: with a wildcard in it, it would be more than one. */
export const isDeviceName = (name: string): boolean => isName(name) && name !== RESERVED;

/** @throws BrinkError E_NAME */
export function checkDeviceName(name: string): void {
  if (isDeviceName(name)) return;
  const detail = `"${name.slice(0, 80)}" cannot be a device's name; "${RESERVED}" belongs to the services`;
  throw new BrinkError('E_NAME', detail);
}

/** A broker that takes everyone on loopback and no one from elsewhere, and of which control knows nothing more. */
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
