import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { BrinkError, FRAME_BYTES_MAX } from '@brink/protocol';
import { type Clock, systemClock } from '@brink/runtime';
import { until } from './flow.ts';
import type { Outgoing } from './frame.ts';
import { JpegSplitter } from './mjpeg.ts';
import { chunksOf, type Samples } from './recording.ts';
import { linesOf, rowsOf } from './rows.ts';
import { authFrom, snapshots } from './snapshot.ts';

/** Where frames come from, and how they are cut. */
export interface SourceOptions {
  mjpeg?: string;
  idleMs: number;
  snapshot?: string;
  every: number;
  timeoutMs: number;
  authFile?: string;
  chunk?: number;
  pcm?: Samples;
  headerless?: boolean;
  rows?: number;
  lines?: boolean;
  hz?: number;
  /** 0: for ever. */
  repeat: number;
}

export interface SourceDeps {
  readonly stdin: () => AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
  /** A line for people, beside what is printed as the answer. */
  readonly note: (text: string) => void;
  readonly clock?: Clock;
}

/** `-` is stdin. */
const STDIN = '-';

/** @throws BrinkError E_NOT_FOUND, E_TOO_LARGE, and what is wrong with the bytes */
export function framesFrom(
  options: SourceOptions,
  files: readonly string[],
  d: SourceDeps,
): AsyncGenerator<Outgoing, void> {
  const { clock = systemClock, signal } = d;
  const { mjpeg, snapshot } = options;
  if (mjpeg !== undefined) {
    return until(picturesOf(bytesOf(mjpeg, d), d), { signal, clock, idleMs: options.idleMs });
  }
  if (snapshot !== undefined) return polled({ ...options, snapshot }, { ...d, clock });
  return until(inTurn(options, files, d), { signal, clock });
}

async function* inTurn(
  options: SourceOptions,
  files: readonly string[],
  d: SourceDeps,
): AsyncGenerator<Outgoing, void> {
  const { repeat } = options;
  let at = 0;
  for (let round = 0; repeat === 0 || round < repeat; round++) {
    let some = false;
    for (const file of await filesOf(files)) {
      const begin = at;
      for await (const { samples = 0, ...frame } of cut(file, options, d)) {
        some = true;
        yield frame.at === undefined ? frame : { ...frame, at: begin + frame.at };
        at += samples;
      }
    }
    if (!some) return;
  }
}

type Cut = Outgoing & { samples?: number };

async function* cut(file: string, options: SourceOptions, d: SourceDeps): AsyncGenerator<Cut, void> {
  let number = 0;
  try {
    for await (const piece of pieces(file, options, d)) {
      number += 1;
      yield { from: piece.at === undefined ? file : `${file} ${number}`, ...piece };
    }
  } catch (reason) {
    const { code, detail } = BrinkError.from(reason);
    throw detail.startsWith(file) ? reason : new BrinkError(code, `${file}: ${detail}`, { cause: reason });
  }
}

async function* pieces(file: string, o: SourceOptions, d: SourceDeps): AsyncGenerator<Omit<Cut, 'from'>, void> {
  const rows = o.rows ?? (o.hz === undefined || o.chunk === undefined ? undefined : (o.hz * o.chunk) / 1000);
  if (o.lines === true) return yield* texts(bytesOf(file, d));
  if (rows !== undefined) return yield* partsOfSignal(bytesOf(file, d), Math.max(1, Math.round(rows)), o.hz);
  if (o.chunk === undefined) return yield { bytes: await wholeOf(file, d) };
  const how = { chunkMs: o.chunk, headerless: o.headerless === true, ...(o.pcm === undefined ? {} : { pcm: o.pcm }) };
  for await (const { count, ...chunk } of chunksOf(bytesOf(file, d), how)) yield { ...chunk, samples: count };
}

async function* texts(source: AsyncIterable<Uint8Array>) {
  for await (const line of linesOf(source)) yield { bytes: Buffer.from(line) };
}

async function* partsOfSignal(source: AsyncIterable<Uint8Array>, rows: number, hz: number | undefined) {
  for await (const { bytes, at, count, rateHz } of rowsOf(source, { rows })) {
    const rate = hz ?? rateHz;
    yield { bytes, at, samples: count, ...(rate === undefined ? {} : { ms: (count / rate) * 1000 }) };
  }
}

async function* picturesOf(source: AsyncIterable<Uint8Array>, d: SourceDeps): AsyncGenerator<Outgoing, void> {
  const splitter = new JpegSplitter({ bytesMax: FRAME_BYTES_MAX });
  const { split } = splitter;
  let bytes = 0;
  for await (const chunk of source) {
    bytes += chunk.byteLength;
    for (const picture of splitter.push(chunk)) {
      yield { bytes: picture, from: `picture ${split.frames}`, contentType: 'image/jpeg' };
    }
  }
  if (split.frames === 0)
    throw new BrinkError('E_TYPE', `${bytes} bytes and no whole JPEG in them; expected a stream of JPEGs`);
  if (split.broken > 0) d.note(`${split.broken} pictures were cut short or too large, and are left out`);
}

async function* polled(
  { snapshot, every, timeoutMs, authFile }: SourceOptions & { snapshot: string },
  d: SourceDeps & { clock: Clock },
): AsyncGenerator<Outgoing, void> {
  const { clock, signal, note } = d;
  const news = {
    failing: ({ code, detail }: BrinkError) => note(`${code}: ${detail}; trying again`),
    back: () => note('the camera answers again'),
  };
  const auth = authFile === undefined ? {} : { authorization: authFrom(authFile) };
  const o = { url: snapshot, everyMs: every, timeoutMs, bytesMax: FRAME_BYTES_MAX, ...auth };
  for await (const picture of snapshots(o, { clock, signal, news, random: Math.random })) {
    yield { ...picture, from: snapshot };
  }
}

/** A folder stands for the files in it, by name (`2.jpg` before `10.jpg`); not for folders in it, nor for hidden files. */
export async function filesOf(paths: readonly string[]): Promise<string[]> {
  const all: string[] = [];
  for (const path of paths) {
    if (path === STDIN || !(await kindOf(path)).isDirectory()) all.push(path);
    else {
      const entries = await readdir(path, { withFileTypes: true });
      const files = entries.filter((entry) => entry.isFile() && !entry.name.startsWith('.')).map(({ name }) => name);
      if (files.length === 0) throw new BrinkError('E_NOT_FOUND', `${path} holds no files`);
      all.push(...files.toSorted(BY_NAME.compare).map((name) => join(path, name)));
    }
  }
  return all;
}

const BY_NAME = new Intl.Collator('en', { numeric: true });

/** All bytes of a file or of stdin, as one frame. @throws BrinkError E_TOO_LARGE, E_NOT_FOUND, E_EMPTY */
export async function wholeOf(file: string, d: Pick<SourceDeps, 'stdin'>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of bytesOf(file, d)) {
    bytes += part.byteLength;
    if (bytes > FRAME_BYTES_MAX) {
      const size = file === STDIN ? 'more' : (await stat(file)).size;
      throw new BrinkError('E_TOO_LARGE', `${file} has ${size} bytes; a frame has at most ${FRAME_BYTES_MAX}`);
    }
    parts.push(part);
  }
  return Buffer.concat(parts, bytes);
}

async function* bytesOf(file: string, { stdin }: Pick<SourceDeps, 'stdin'>): AsyncGenerator<Uint8Array, void> {
  if (file === STDIN) return yield* stdin();
  if ((await kindOf(file)).isDirectory()) throw new BrinkError('E_NOT_FOUND', `${file} is a folder; expected a file`);
  try {
    yield* createReadStream(file) as AsyncIterable<Buffer>;
  } catch (error) {
    throw unreadable(file, error);
  }
}

async function kindOf(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    throw unreadable(path, error);
  }
}

const unreadable = (path: string, error: unknown) =>
  new BrinkError('E_NOT_FOUND', `${path} cannot be read: ${BrinkError.from(error).detail}`, { cause: error });
