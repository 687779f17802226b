import type { Topics } from '@brink/protocol';
import type { ControlConfig } from '../config.ts';
import { type CredentialStore, createNoCredentials } from './credentials.ts';
import type { Dynsec } from './dynsec.ts';
import { createDynsecCredentials } from './dynsec-credentials.ts';
import { createFileCredentials } from './file-credentials.ts';

/** The one of the broker that is there: Mosquitto's, the embedded broker's file, or none on loopback. */
export function credentialsFor(o: ControlConfig, topics: Topics, dynsec: Dynsec | undefined): CredentialStore {
  if (dynsec !== undefined) return createDynsecCredentials({ topics }, { dynsec });
  return o.devicesFile === undefined ? createNoCredentials() : createFileCredentials(o.devicesFile);
}
