import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import type { SitePlan } from '../ingest/plan.ts';

const SECRET_BYTES_MIN = 16;
const SECRET_BYTES_MAX = 4096;

/**
 * Keys that masks use, each a file of its own: they stand in no configuration, no revision and no message. A trailing line break is
 * not part of a key. Read when a configuration comes into force; a file that changes later counts from the next one on.
 */
export function createSecrets(config: { dir: string }) {
  let keys = new Map<string, Uint8Array>();

  function read(name: string): Uint8Array {
    const path = join(config.dir, name);
    let bytes: Buffer;
    try {
      bytes = readFileSync(path);
    } catch (reason) {
      throw new BrinkError('E_CONFIG', `the secret "${name}" is not there: ${path} (BRINK_SECRETS_DIR)`, {
        cause: reason,
      });
    }
    const key = Buffer.from(bytes.toString('latin1').replace(/\r?\n$/, ''), 'latin1');
    if (key.length >= SECRET_BYTES_MIN && key.length <= SECRET_BYTES_MAX) return key;
    throw new BrinkError(
      'E_CONFIG',
      `the secret "${name}" in ${path} has ${key.length} bytes; expected ${SECRET_BYTES_MIN} to ${SECRET_BYTES_MAX}`,
    );
  }

  return {
    /**
     * Reads every key that the plan names.
     * @throws BrinkError E_CONFIG where one is missing: a configuration without its secrets must not come into force
     */
    load(plan: SitePlan): void {
      const next = new Map<string, Uint8Array>();
      for (const { mask } of plan.streams.values()) {
        for (const { secret } of mask?.fields ?? [])
          if (secret !== '') next.set(secret, next.get(secret) ?? read(secret));
      }
      keys = next;
    },
    /** @throws BrinkError E_MASK */
    key(name: string): Uint8Array {
      const key = keys.get(name);
      if (key === undefined) throw new BrinkError('E_MASK', `the secret "${name}" is not there`);
      return key;
    },
  };
}

export type Secrets = ReturnType<typeof createSecrets>;
