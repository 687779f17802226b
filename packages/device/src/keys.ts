import { type FileHandle, mkdir, open, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Ack, AckSchema, BrinkError } from '@brink/protocol';

/** As many commands are remembered; a key that comes again later than that is not recognised. */
const KEYS_MAX = 1024;

/** Which commands were carried out, and what was answered. */
export interface Keys {
  open(): Promise<void>;
  close(): Promise<void>;
  /** @returns the answer; `running` where there is none yet; undefined where the key is new */
  find(key: string): Ack | 'running' | undefined;
  /** To be awaited before the command is carried out: after a crash it must be known that it may have been. */
  begin(key: string): Promise<void>;
  answer(ack: Ack): Promise<void>;
}

/**
 * @param file absent: the keys are kept in memory, and a restart forgets them. Otherwise lines of JSON, one when a command begins
 *   and one when it is answered, each on the disk before it goes on.
 */
export function createKeys(file?: string): Keys {
  const answers = new Map<string, Ack | 'running'>();
  let handle: FileHandle | undefined;
  let lines = 0;

  function remember(key: string, answer: Ack | 'running'): void {
    answers.delete(key);
    answers.set(key, answer);
    for (const oldest of answers.keys()) {
      if (answers.size <= KEYS_MAX) break;
      answers.delete(oldest);
    }
  }

  /** Only the last keys, in a new file that takes the place of the old one at once. */
  async function rewrite(path: string): Promise<void> {
    await handle?.close();
    const text = [...answers].map(([key, answer]) => `${JSON.stringify(answer === 'running' ? { key } : answer)}\n`);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(`${path}.new`, text.join(''), { flush: true });
    await rename(`${path}.new`, path);
    handle = await open(path, 'a');
    lines = answers.size;
  }

  async function append(line: object): Promise<void> {
    if (file === undefined) return;
    if (handle === undefined) throw new BrinkError('E_INTERNAL', `${file} is not open`);
    if (lines >= 4 * KEYS_MAX) await rewrite(file);
    await handle.appendFile(`${JSON.stringify(line)}\n`);
    await handle.datasync();
    lines += 1;
  }

  return {
    async open() {
      if (file === undefined) return;
      for (const [key, answer] of await readKeys(file)) remember(key, answer);
      await rewrite(file);
    },
    async close() {
      await handle?.close();
      handle = undefined;
    },
    find: (key) => answers.get(key),
    async begin(key) {
      remember(key, 'running');
      try {
        await append({ key });
      } catch (error) {
        answers.delete(key);
        throw BrinkError.from(error, 'E_STORAGE_FULL');
      }
    },
    async answer(ack) {
      remember(ack.key, ack);
      await append(ack);
    },
  };
}

async function readKeys(file: string): Promise<Map<string, Ack>> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw new BrinkError('E_STORAGE_READONLY', `${file} cannot be read: ${error.message}`, { cause: error });
  });
  const answers = new Map<string, Ack>();
  for (const line of text.split('\n')) {
    const entry = parseLine(line);
    if (entry !== undefined) answers.set(entry.key, entry);
  }
  return answers;
}

/** A line that was cut short by a crash is as if it had not been written: nothing was done after it. */
function parseLine(line: string): Ack | undefined {
  try {
    const value: unknown = JSON.parse(line);
    const ack = AckSchema.safeParse(value);
    if (ack.success) return ack.data;
    const begun = AckSchema.pick({ key: true }).safeParse(value);
    if (!begun.success) return undefined;
    return { key: begun.data.key, status: 500, error: 'interrupted: it may have been carried out before the restart' };
  } catch {
    return undefined;
  }
}
