import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Recording, RecordingIdSchema, RecordingSchema } from '@brink/protocol';
import type { Clock, Logger } from '@brink/runtime';
import { writeWhole } from './files.ts';

const MANIFEST = 'manifest.json';

export type RemovedWhy = 'age' | 'bytes' | 'forgotten';

interface Entry {
  readonly bytes: number;
  readonly atMs: number;
}

/** The folder of recordings: which there are, and the oldest of them gone where they are too many or too old. */
export function createShelf(
  config: { dir: string; gateway: string; bytesMax: number; ageMsMax: number },
  d: { clock: Clock; logger: Logger; onRemoved(why: RemovedWhy): void },
) {
  const known = new Map<string, Entry>();
  let bytes = 0;

  async function read(id: string): Promise<Recording | undefined> {
    try {
      return RecordingSchema.parse(JSON.parse(await readFile(join(config.dir, id, MANIFEST), 'utf8')));
    } catch {
      return undefined;
    }
  }

  function note({ id, bytes: size, at }: Recording): void {
    bytes += size - (known.get(id)?.bytes ?? 0);
    known.set(id, { bytes: size, atMs: Date.parse(at) });
  }

  async function remove(id: string, why: RemovedWhy): Promise<void> {
    bytes -= known.get(id)?.bytes ?? 0;
    known.delete(id);
    await rm(join(config.dir, id), { recursive: true, force: true });
    d.onRemoved(why);
  }

  return {
    read,

    async write(recording: Recording): Promise<void> {
      await writeWhole(join(config.dir, recording.id), MANIFEST, JSON.stringify(recording));
      note(recording);
    },

    /** What the last process left: those that it did not finish are cut. */
    async open(): Promise<void> {
      const names = await readdir(config.dir).catch(() => []);
      for (const id of names.filter((name) => RecordingIdSchema.safeParse(name).success)) {
        const found = await read(id);
        if (found === undefined) continue;
        if (found.state === 'recording' && found.gateway === config.gateway)
          await this.write({ ...found, state: 'cut' });
        else note(found);
      }
    },

    /** @param sparing ids that are being written */
    async tidy(sparing: ReadonlySet<string>): Promise<void> {
      const oldest = [...known].filter(([id]) => !sparing.has(id)).toSorted(([, a], [, b]) => a.atMs - b.atMs);
      for (const [id, { atMs }] of oldest) {
        const isOld = d.clock.now() - atMs > config.ageMsMax;
        if (!isOld && bytes <= config.bytesMax) return;
        await remove(id, isOld ? 'age' : 'bytes').catch((reason: unknown) =>
          d.logger.warn({ err: reason, recording: id }, 'a recording could not be removed'),
        );
      }
    },

    /** Those of a device. @returns how many that were */
    async forget(device: string): Promise<number> {
      let removed = 0;
      for (const id of [...known.keys()]) {
        if ((await read(id))?.device !== device) continue;
        await remove(id, 'forgotten');
        removed += 1;
      }
      return removed;
    },

    get bytes() {
      return bytes;
    },
    get count() {
      return known.size;
    },
  };
}

export type Shelf = ReturnType<typeof createShelf>;
