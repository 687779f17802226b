import { createReadStream, type ReadStream } from 'node:fs';
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  BrinkError,
  type RecordedFrame,
  type Recording,
  RecordingIdSchema,
  RecordingSchema,
  type RecordingSummary,
} from '@brink/protocol';

export interface RecordingQuery {
  readonly device?: string | undefined;
  readonly stream?: string | undefined;
  /** ms since 1970, of what led to it: since ≤ at < until. */
  readonly since_ms?: number | undefined;
  readonly until_ms?: number | undefined;
  /** Newest first; older than this (`next` of the page before), ms since 1970. */
  readonly before?: number | undefined;
  readonly limit: number;
}

/** A file of a recording, on its way out. */
export interface OpenFrame {
  readonly frame: RecordedFrame;
  readonly stream: ReadStream;
}

interface Known {
  /** Of the manifest, when it was read. */
  readonly changedMs: number;
  readonly atMs: number;
  readonly summary: RecordingSummary;
}

/**
 * What the gateways recorded: they write the folder and take the oldest away, this only reads it. The folder is the truth: what is
 * known of it is looked up again where a manifest changed.
 */
export function createRecordings(config: { dir: string }) {
  const known = new Map<string, Known>();

  async function look(id: string): Promise<void> {
    const path = join(config.dir, id, 'manifest.json');
    try {
      const { mtimeMs } = await stat(path);
      if (known.get(id)?.changedMs === mtimeMs) return;
      const { frames, ...rest } = RecordingSchema.parse(JSON.parse(await readFile(path, 'utf8')));
      known.set(id, { changedMs: mtimeMs, atMs: Date.parse(rest.at), summary: { ...rest, frames: frames.length } });
    } catch {
      // It is being made, or was removed between two looks.
      known.delete(id);
    }
  }

  async function refresh(): Promise<void> {
    const names = await readdir(config.dir).catch(() => []);
    const there = new Set(names.filter((name) => RecordingIdSchema.safeParse(name).success));
    for (const id of known.keys()) if (!there.has(id)) known.delete(id);
    for (const id of there) await look(id);
  }

  async function manifest(id: string): Promise<Recording> {
    const gone = () =>
      new BrinkError('E_NOT_FOUND', `there is no recording "${id.slice(0, 100)}", or it is no longer kept`);
    if (!RecordingIdSchema.safeParse(id).success) throw gone();
    const text = await readFile(join(config.dir, id, 'manifest.json'), 'utf8').catch(() => undefined);
    if (text === undefined) throw gone();
    const read = RecordingSchema.safeParse(JSON.parse(text));
    if (!read.success) throw new BrinkError('E_STORAGE_CORRUPT', `the manifest of recording ${id} cannot be read`);
    return read.data;
  }

  return {
    /** Newest first. */
    async list(query: RecordingQuery): Promise<{ items: RecordingSummary[]; next?: number }> {
      await refresh();
      const { device, stream, since_ms = 0, until_ms = Number.MAX_SAFE_INTEGER, limit } = query;
      const before = Math.min(until_ms, query.before ?? Number.MAX_SAFE_INTEGER);
      const found = [...known.values()]
        .filter(({ atMs }) => atMs >= since_ms && atMs < before)
        .filter(({ summary }) => device === undefined || summary.device === device)
        .filter(({ summary }) => stream === undefined || summary.stream === stream)
        .toSorted((a, b) => b.atMs - a.atMs);
      const items = found.slice(0, limit);
      // Those of one millisecond stay together, so that none is left out between two pages.
      while (items.length < found.length && found[items.length]?.atMs === items.at(-1)?.atMs)
        items.push(found[items.length] as Known);
      const more = items.length < found.length ? { next: items.at(-1)?.atMs as number } : {};
      return { items: items.map(({ summary }) => summary), ...more };
    },

    /** @throws BrinkError E_NOT_FOUND, E_STORAGE_CORRUPT */
    read: manifest,

    /** @param index from 0. @throws BrinkError E_NOT_FOUND, E_STORAGE_CORRUPT */
    async frame(id: string, index: number): Promise<OpenFrame> {
      const frame = (await manifest(id)).frames[index];
      if (frame === undefined) throw new BrinkError('E_NOT_FOUND', `recording ${id} has no frame ${index}`);
      const file = await open(join(config.dir, id, frame.file)).catch(() => undefined);
      if (file === undefined)
        throw new BrinkError('E_NOT_FOUND', `frame ${index} of recording ${id} is no longer kept`);
      return { frame, stream: createReadStream('', { fd: file }) };
    },
  };
}

export type Recordings = ReturnType<typeof createRecordings>;
