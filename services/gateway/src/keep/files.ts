import { hash } from 'node:crypto';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RecordedFrame } from '@brink/protocol';
import type { KeptFrame } from './ring.ts';

const EXTENSIONS: Readonly<Record<string, string>> = {
  'image/jpeg': 'jpg',
  'audio/wav': 'wav',
  'application/json': 'json',
  'application/cbor': 'cbor',
  'text/csv': 'csv',
  'text/plain': 'txt',
};

/** A file of a recording: one frame, or the sound of several. */
export interface RecordedFile {
  readonly frame: RecordedFrame;
  readonly bytes: Uint8Array;
}

/** Frames → files. Pictures, signals and texts are a file each; sound without a gap is one. */
export function filesOf(frames: readonly KeptFrame[]): RecordedFile[] {
  const files: RecordedFile[] = [];
  let run: KeptFrame[] = [];
  for (const frame of frames) {
    if (frame.rateHz === undefined) {
      files.push(fileOf([frame], frame.bytes));
      continue;
    }
    const last = run.at(-1);
    const goesOn = last?.boot === frame.boot && last.seq + 1 === frame.seq && last.rateHz === frame.rateHz;
    if (run.length > 0 && !goesOn) {
      files.push(fileOf(run, wavOf(run)));
      run = [];
    }
    run.push(frame);
  }
  if (run.length > 0) files.push(fileOf(run, wavOf(run)));
  return files;
}

function fileOf(frames: readonly KeptFrame[], bytes: Uint8Array): RecordedFile {
  const first = frames[0] as KeptFrame;
  const sha256 = hash('sha256', bytes, 'hex');
  return {
    frame: {
      boot: first.boot,
      seq: first.seq,
      ...(frames.length === 1 ? {} : { last: (frames.at(-1) as KeptFrame).seq }),
      received_at: new Date(first.receivedMs).toISOString(),
      type: first.type,
      sha256,
      bytes: bytes.byteLength,
      file: `${sha256}.${EXTENSIONS[first.type] ?? 'bin'}`,
    },
    bytes,
  };
}

/** [RIFF/WAVE] PCM, 16 bits, one channel; format and samples, and no chunk beside them. */
function wavOf(frames: readonly KeptFrame[]): Buffer {
  const data = Buffer.concat(frames.map(({ bytes }) => bytes));
  const rateHz = Math.round(frames[0]?.rateHz ?? 0);
  const head = Buffer.alloc(44);
  head.write('RIFF', 0, 'latin1');
  head.writeUInt32LE(36 + data.length, 4);
  head.write('WAVEfmt ', 8, 'latin1');
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(rateHz, 24);
  head.writeUInt32LE(2 * rateHz, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write('data', 36, 'latin1');
  head.writeUInt32LE(data.length, 40);
  return Buffer.concat([head, data]);
}

/** Whole or not at all, at every moment. */
export async function writeWhole(folder: string, name: string, bytes: Uint8Array | string): Promise<void> {
  const path = join(folder, name);
  try {
    await writeFile(`${path}.new`, bytes);
  } catch (reason) {
    if ((reason as NodeJS.ErrnoException).code !== 'ENOENT') throw reason;
    await mkdir(folder, { recursive: true });
    await writeFile(`${path}.new`, bytes);
  }
  await rename(`${path}.new`, path);
}
