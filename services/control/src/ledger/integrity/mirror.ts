import { createHash } from 'node:crypto';
import { closeSync, existsSync, fdatasync, fsyncSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { uptime } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { z } from 'zod';

// What was committed last, written down a second time in ledger.head: a log whose end is damaged reads as a log that ends
// sooner, and SQLite says nothing. Two slots of 512 bytes, written in turn behind each COMMIT, each with its own checksum:
// one of them is whole at any time. They are text, so that a person can read them.

export const MIRROR = 'ledger.head';
const SLOT_BYTES = 512;
/** The mirror goes to the disk with every so many commits; the others reach it when the system likes. */
const SYNC_EVERY = 64;

export const HeadSchema = z.strictObject({
  commits: z.number().int().min(0).describe('transactions since the ledger was made'),
  n: z.number().int().min(0).describe('running number of the newest decision'),
  hash: z.string().describe('sha256 over the hash before and what this transaction was made of'),
});
export type Head = z.infer<typeof HeadSchema>;

const MirrorSchema = HeadSchema.extend({
  turn: z.number().int().min(0).describe('how often the mirror was written'),
  promised: z.number().int().min(0).describe('commits up to here were synced to the disk: somebody relies on them'),
  covered: z.number().int().min(0).describe('commits up to here are in ledger.db and its sums, not only in the log'),
  at_ms: z.number().describe('wall clock of the last commit'),
  up_ms: z.number().describe('since the machine started'),
  machine: z.string().describe('which start of the machine'),
});
export type Mirrored = z.infer<typeof MirrorSchema>;

export const NO_HEAD: Head = { commits: 0, n: 0, hash: '' };

/** The head after a transaction. @param parts what it was made of, in order */
export function nextHead(head: Head, n: number, parts: Iterable<string>): Head {
  const hash = createHash('sha256').update(head.hash).update(`\n${n}\n`);
  for (const part of parts) hash.update(part).update('\n');
  return { commits: head.commits + 1, n, hash: hash.digest('hex') };
}

/** Of the machine, so that a clock that jumps and a power cut can be told apart. https://docs.kernel.org/admin-guide/sysctl/kernel.html */
export function machineNow(): { machine: string; upMs: number } {
  let machine = '';
  try {
    machine = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    // Not Linux: nothing is known then, and missing commits count as lost with the power.
  }
  return { machine, upMs: Math.round(uptime() * 1000) };
}

export interface ReadMirror {
  /** The newest whole slot. */
  readonly mirror: Mirrored | undefined;
  /** What is wrong with the file itself. */
  readonly damage: string | undefined;
}

export function readMirror(folder: string): ReadMirror {
  const path = join(folder, MIRROR);
  if (!existsSync(path)) return { mirror: undefined, damage: undefined };
  const bytes = Buffer.alloc(2 * SLOT_BYTES);
  const file = openSync(path, 'r');
  readSync(file, bytes, 0, bytes.length, 0);
  closeSync(file);
  const slots = [0, 1].map((slot) => parseSlot(bytes.subarray(slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES)));
  const whole = slots.filter((slot) => slot !== undefined && slot !== 'empty');
  const damage = slots.includes(undefined) || whole.length === 0 ? `${MIRROR} is damaged` : undefined;
  return { mirror: whole.toSorted((a, b) => b.turn - a.turn)[0], damage };
}

function parseSlot(bytes: Buffer): Mirrored | 'empty' | undefined {
  const text = bytes.toString('latin1');
  if (text.slice(9).trim() === '' && text.startsWith('00000000')) return 'empty';
  if (Number.parseInt(text.slice(0, 8), 16) !== crc32(bytes.subarray(8))) return undefined;
  try {
    return MirrorSchema.parse(JSON.parse(text.slice(8)));
  } catch {
    return undefined;
  }
}

const EMPTY_SLOT = `00000000${' '.repeat(SLOT_BYTES - 9)}\n`;

/** Writes the mirror. @param from what it goes on from; undefined: a new one */
export function createMirror(folder: string, from: Mirrored | undefined) {
  const path = join(folder, MIRROR);
  const file = openSync(path, existsSync(path) ? 'r+' : 'w+', 0o600);
  const { machine } = machineNow();
  let turn = from?.turn ?? 0;
  let promised = from?.promised ?? 0;
  let covered = from?.covered ?? 0;
  let head: Head = from === undefined ? NO_HEAD : { commits: from.commits, n: from.n, hash: from.hash };
  let syncing = false;
  /** One moment, by both clocks. */
  let at = { wallMs: from?.at_ms ?? 0, upMs: from?.up_ms ?? 0 };

  function now(wallMs: number): void {
    at = { wallMs, upMs: Math.round(uptime() * 1000) };
  }

  function write(): void {
    turn += 1;
    const slot: Mirrored = { ...head, turn, promised, covered, at_ms: at.wallMs, up_ms: at.upMs, machine };
    writeSync(file, slotText(slot), (turn % 2) * SLOT_BYTES, 'latin1');
  }

  function syncSoon(): void {
    if (syncing) return;
    syncing = true;
    // Nothing depends on it but how much a power cut makes it forget.
    fdatasync(file, () => {
      syncing = false;
    });
  }

  return {
    /** After a COMMIT. @param full it was synced, so somebody may rely on it and on all before */
    committed(next: Head, atMs: number, full: boolean): void {
      head = next;
      if (full) promised = next.commits;
      now(atMs);
      write();
      if (next.commits % SYNC_EVERY === 0) syncSoon();
    },
    /** What was committed without a sync has been synced since. */
    synced(): void {
      promised = head.commits;
      write();
    },
    /** ledger.db and its sums hold all that was committed. */
    covered(): void {
      covered = head.commits;
      write();
    },
    /** A ledger as it was opened, checked and checkpointed: both slots say the same from now on. */
    adopt(next: Head, atMs: number): void {
      head = next;
      promised = next.commits;
      covered = next.commits;
      now(atMs);
      writeSync(file, EMPTY_SLOT + EMPTY_SLOT, 0, 'latin1');
      write();
      write();
      fsyncSync(file);
    },
    close(): void {
      fsyncSync(file);
      closeSync(file);
    },
  };
}

function slotText(slot: Mirrored): string {
  const body = `${` ${JSON.stringify(slot)}`.padEnd(SLOT_BYTES - 9)}\n`;
  return crc32(body).toString(16).padStart(8, '0') + body;
}
