import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DERIVER_VERSION, type DerivedGraph } from '@brink/onnx';
import { BrinkError, type Passport } from '@brink/protocol';
import type { Clock, Logger } from '@brink/runtime';
import { z } from 'zod';

/**
 * Graphs as they were made ready for units, on disk: what a restart of the service, or of a runner, finds again.
 * A damaged entry is made again; a disk that cannot be written costs time, never a model.
 */
export interface DerivedGraphs {
  get(key: string, make: () => DerivedGraph): Promise<DerivedGraph>;
}

const COUNT_MAX = 256;
const SUFFIX = '.derived';
const HeadSchema = z.strictObject({ inputs: z.array(z.string()), states: z.array(z.string()) });

/** Changes with everything that the derived graph depends on, and with nothing else. */
export function derivedKey(modelSha256: string, { inputs, state, output }: Passport): string {
  const { decoder, tensors } = output;
  const error = 'error' in output ? output.error : '';
  return sha256(JSON.stringify([DERIVER_VERSION, modelSha256, inputs, state, decoder, tensors, error]));
}

/**
 * @param o bytesMax: the entries that were not used for longest go when all together have more; 0 keeps none
 */
export function createDerivedGraphs(
  o: { dir: string; bytesMax: number },
  d: { logger: Logger; clock: Clock },
): DerivedGraphs {
  const fileOf = (key: string) => join(o.dir, `${key}${SUFFIX}`);

  async function read(key: string): Promise<DerivedGraph | undefined> {
    const file = fileOf(key);
    const bytes = await readFile(file).catch(() => undefined);
    if (bytes === undefined) return undefined;
    const found = unpack(bytes);
    if (found === undefined) d.logger.warn({ file }, 'a derived graph was damaged; it is made again');
    else await touch(file).catch(() => {});
    return found;
  }

  async function touch(file: string): Promise<void> {
    const now = d.clock.now() / 1000;
    await utimes(file, now, now);
  }

  async function keep(key: string, graph: DerivedGraph): Promise<void> {
    await mkdir(o.dir, { recursive: true });
    const part = join(o.dir, `${key}.${randomBytes(4).toString('hex')}.new`);
    try {
      await writeFile(part, pack(graph));
      await rename(part, fileOf(key));
      await touch(fileOf(key));
    } catch (reason) {
      await rm(part, { force: true });
      throw reason;
    }
    await makeRoom(o);
  }

  return {
    async get(key, make) {
      if (o.bytesMax === 0) return make();
      const found = await read(key);
      if (found !== undefined) return found;
      const made = make();
      await keep(key, made).catch((reason: unknown) =>
        d.logger.warn({ detail: BrinkError.from(reason).detail }, 'a derived graph cannot be kept'),
      );
      return made;
    },
  };
}

/** Ends those that were not used for longest, and what a writer left behind that was killed. */
async function makeRoom({ dir, bytesMax }: { dir: string; bytesMax: number }): Promise<void> {
  const entries: { file: string; bytes: number; usedAt: number }[] = [];
  for (const name of await readdir(dir)) {
    const file = join(dir, name);
    const found = await stat(file).catch(() => undefined);
    if (found?.isFile()) entries.push({ file, bytes: found.size, usedAt: found.mtimeMs });
  }
  entries.sort((a, b) => b.usedAt - a.usedAt);
  let bytes = 0;
  for (const [at, entry] of entries.entries()) {
    bytes += entry.bytes;
    if (bytes > bytesMax || at >= COUNT_MAX) await rm(entry.file, { force: true });
  }
}

// sha256 of what follows it, a line; the names, a line of JSON; the graph.

function pack({ graph, inputs, states }: DerivedGraph): Buffer {
  const rest = Buffer.concat([Buffer.from(`${JSON.stringify({ inputs, states })}\n`), graph]);
  return Buffer.concat([Buffer.from(`${sha256(rest)}\n`), rest]);
}

function unpack(bytes: Buffer): DerivedGraph | undefined {
  const [first, rest] = line(bytes);
  if (first !== sha256(rest)) return undefined;
  const [head, graph] = line(rest);
  try {
    return { ...HeadSchema.parse(JSON.parse(head)), graph };
  } catch {
    return undefined;
  }
}

function line(bytes: Buffer): [string, Buffer] {
  const end = bytes.indexOf(0x0a);
  return [bytes.toString('utf8', 0, Math.max(0, end)), bytes.subarray(end + 1)];
}

const sha256 = (bytes: string | Uint8Array) => createHash('sha256').update(bytes).digest('hex');
