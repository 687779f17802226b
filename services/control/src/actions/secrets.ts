import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';

export interface Secrets {
  /**
   * The lines of the secret's file, without empty ones. Read each time: a secret that is replaced counts at once.
   * @throws BrinkError E_SECRET: not there, empty, or others may read it. Its text never has the secret in it.
   */
  read(name: string): Promise<readonly string[]>;
}

const BYTES_MAX = 4096;

/** Who may read the file is checked on POSIX alone; elsewhere the mode says nothing. */
const OTHERS = process.platform === 'win32' ? 0 : 0o077;

/** Secrets by name: a file each, in a folder that only control reads. */
export function createSecrets(config: { readonly dir: string }): Secrets {
  return {
    async read(name) {
      const path = join(config.dir, name);
      const { text, mode } = await contentOf(path, name);
      if ((mode & OTHERS) !== 0) {
        const found = (mode & 0o777).toString(8).padStart(4, '0');
        throw new BrinkError('E_SECRET', `${path} has mode ${found}; expected 0600: \`chmod 600 ${path}\``);
      }
      const lines = text.split(/\r?\n/).map((line) => line.trim());
      const filled = lines.filter((line) => line !== '');
      if (filled.length === 0) throw new BrinkError('E_SECRET', `${path} is empty; expected the secret "${name}"`);
      return filled;
    },
  };
}

/** Mode and text of the very same file: between two looks at a path it could be exchanged. */
async function contentOf(path: string, name: string): Promise<{ text: string; mode: number }> {
  try {
    await using file = await open(path, 'r');
    const { mode, size } = await file.stat();
    if (size > BYTES_MAX) throw new BrinkError('E_SECRET', `${path} has ${size} bytes; expected at most ${BYTES_MAX}`);
    return { text: await file.readFile('utf8'), mode };
  } catch (reason) {
    if (reason instanceof BrinkError) throw reason;
    const { code } = reason as NodeJS.ErrnoException;
    const detail = `the secret "${name}" cannot be read (${code}); expected a file ${path} (BRINK_SECRETS_DIR)`;
    throw new BrinkError('E_SECRET', detail, { cause: reason });
  }
}
