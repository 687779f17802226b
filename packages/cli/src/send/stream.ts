import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Device, RejectedFrame } from '@brink/device';
import { BrinkError, type Decision } from '@brink/protocol';
import { systemClock } from '@brink/runtime';
import type { Api } from '../api.ts';
import { decisionLine } from '../show.ts';
import { printable } from '../terminal.ts';
import { type Context, usingApi } from '../verb.ts';
import { lookedAt, receiptsOf, SHOWN_MAX } from './after.ts';
import type { AskOptions, What } from './ask.ts';
import { refusedOf, whyMissing } from './fate.ts';
import { atMost, newestOf, paced } from './flow.ts';
import { type Followed, followDecisions } from './follow.ts';
import type { Outgoing } from './frame.ts';
import { beginning, deviceFor } from './line.ts';
import { framesFrom, type SourceOptions } from './source.ts';
import { eachInTurn, kept, leavingOut, type Way } from './ways.ts';

// Many frames at their pace, whoever makes them: recordings, a camera behind a pipe, a program that measures.

export interface StreamOptions extends AskOptions, SourceOptions {
  rate?: number;
  fast?: boolean;
  count?: number;
  at?: boolean;
  keep?: string;
  watch?: boolean;
}

/** What was sent, and what came of it. */
interface Summary {
  frames: number;
  bytes: number;
  /** Not sent: a newer picture took their place, or there was no connection. */
  left_out: number;
  boot: string;
  /** The number of the last one; 0 where there is none. */
  last: number;
  seconds: number;
  /** With --keep: of an earlier time, without a receipt when this began. */
  before?: number;
  /** With --keep: without a receipt, still in the folder. */
  waiting?: number;
  /** With --keep: refused by name. */
  rejected?: RejectedFrame[];
  /** With --watch. */
  decisions?: number;
  /** Frames that the gateway refused by name, as far as was looked back. */
  refused?: number;
  /** Decisions that say why there is none, as far as was looked back: a picture that cannot be decoded, an input that does not fit. */
  dead?: number;
  /** Whether no stream takes them. */
  unwanted?: boolean;
}

/** @returns the summary, printed already, and whether all is well */
export async function sendStream(context: Context, options: StreamOptions, what: What): Promise<boolean> {
  const bridge = options.mjpeg !== undefined || options.snapshot !== undefined;
  const outbox = options.keep === undefined ? undefined : { file: await outboxFile(options.keep, what.device) };
  const device = deviceFor(context, options, { ...what, bridge, ...(outbox === undefined ? {} : { outbox }) });
  const run = createRun(context, options, { ...what, connection: device, bridge });
  if (options.watch !== true) return run.all();
  return usingApi(context, options, async (api) => {
    const { stream } = what;
    const seen = (decision: Decision) => {
      run.seen(decision);
      context.show({ event: 'decision', ...decision }, [decisionLine(decision, context.paint)]);
    };
    const lost = () => context.terminal.note('brink send: lost the connection to control; trying again');
    // Kept frames may be of an earlier start.
    const ours = options.keep === undefined ? { boot: device.boot } : {};
    const o = { device: what.device, stream, seen, lost, ...ours };
    const followed = await followDecisions(api, o).catch((reason: unknown) => {
      // What is to be kept is kept, whoever is away.
      if (options.keep === undefined) throw reason;
      context.terminal.note(`brink send: decisions are not shown: ${printable(BrinkError.from(reason).detail)}`);
    });
    if (followed === undefined) {
      await run.all();
      return false;
    }
    try {
      return await run.all({ api, followed });
    } finally {
      await followed.stop();
    }
  });
}

async function outboxFile(folder: string, device: string): Promise<string> {
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    throw BrinkError.from(error, 'E_STORAGE_READONLY');
  });
  return join(folder, `${device}.outbox.db`);
}

function createRun(context: Context, options: StreamOptions, what: What & { connection: Device; bridge: boolean }) {
  const { stream, connection: device, bridge } = what;
  const { signal } = context;
  const note = (text: string) => context.terminal.note(`brink send: ${printable(text)}`);
  const startedMs = performance.now();
  const summary: Summary = { frames: 0, bytes: 0, left_out: 0, boot: device.boot, last: 0, seconds: 0 };
  const rejected: RejectedFrame[] = [];
  device.onRejected((frame) => {
    rejected.push(frame);
    note(`frame ${frame.boot}-${frame.seq} was refused: ${frame.code}; \`brink dead\` says why`);
  });
  const way = { device, stream, at: options.at === true, signal, waitMs: options.waitMs, note };

  async function sendAll(send: Way, frames: AsyncIterable<Outgoing>): Promise<void> {
    for await (const frame of frames) {
      const name = await send(frame);
      if (name === undefined) {
        summary.left_out += 1;
        continue;
      }
      summary.frames += 1;
      summary.bytes += frame.bytes.byteLength;
      summary.last = name.seq;
    }
  }

  function sending(): Promise<void> {
    const source = framesFrom(options, what.files, { stdin: context.stdin, signal, note });
    const some = atMost(source, options.count);
    if (bridge) {
      return sendAll(
        leavingOut(way),
        newestOf(some, () => (summary.left_out += 1)),
      );
    }
    const pace = { fast: options.fast === true, ...(options.rate === undefined ? {} : { fps: options.rate }) };
    const frames = paced(some, pace, { signal, clock: systemClock });
    return sendAll(options.keep === undefined ? eachInTurn(way) : kept(way), frames);
  }

  async function decisions(api: Api, followed: Followed): Promise<void> {
    const { boot, last: seq } = summary;
    await followed.settled(seq, options.waitMs, signal);
    summary.decisions = followed.count;
    if (seq === 0 || signal.aborted) return;
    const sent = { device: device.name, stream, boot, seq };
    const refused = await refusedOf(api, sent);
    if (refused.length > 0) summary.refused = refused.length;
    for (const letter of refused.slice(0, SHOWN_MAX)) {
      note(`frame ${letter.seq} was refused: ${letter.error.code}: ${letter.error.detail}`);
    }
    if (followed.count === 0 && refused.length === 0) note(await whyMissing(context, options, sent, options.waitMs));
  }

  const after = { context, options, device, stream, note };

  async function receipts(folder: string): Promise<void> {
    await receiptsOf(after, folder);
    summary.waiting = device.waiting;
    summary.rejected = rejected;
  }

  /** Not of a bridge: that is over when somebody ends it. */
  async function look(): Promise<void> {
    const { last: seq, waiting = 0 } = summary;
    if (seq > 0 && !bridge && !signal.aborted && waiting === 0) Object.assign(summary, await lookedAt(after, seq));
  }

  return {
    seen({ outcome }: Decision): void {
      if (outcome === 'dead') summary.dead = (summary.dead ?? 0) + 1;
    },
    /** @returns whether all is well */
    async all(watched?: { api: Api; followed: Followed }): Promise<boolean> {
      const connected = await beginning(after);
      if (device.waiting > 0) summary.before = device.waiting;
      try {
        await sending();
        if (summary.frames === 0 && options.keep === undefined && !signal.aborted) note('there was nothing to send');
        await connected();
        if (options.keep !== undefined) await receipts(options.keep);
        if (watched === undefined) await look();
        else await decisions(watched.api, watched.followed);
        summary.seconds = Math.round(performance.now() - startedMs) / 1000;
        if (context.json) context.terminal.line(JSON.stringify({ event: 'sent', ...summary }));
        else note(summaryText(summary));
        return signal.aborted || isWell(summary, options);
      } finally {
        await device.stop();
      }
    },
  };
}

const isWell = (
  { frames, waiting = 0, rejected = [], refused = 0, dead = 0, unwanted = false, decisions }: Summary,
  { keep }: StreamOptions,
): boolean =>
  (frames > 0 || keep !== undefined) &&
  [waiting, rejected.length, refused, dead].every((count) => count === 0) &&
  !unwanted &&
  decisions !== 0;

function summaryText({ frames, bytes, left_out, seconds, waiting, decisions, refused, dead, before }: Summary): string {
  const parts = [`${frames} ${frames === 1 ? 'frame' : 'frames'} (${bytes} bytes) in ${seconds.toFixed(1)} s`];
  if (before !== undefined) parts.push(`${before} of before`);
  if (left_out > 0) parts.push(`${left_out} left out`);
  if (waiting !== undefined) parts.push(waiting === 0 ? 'all with a receipt' : `${waiting} without a receipt`);
  if (decisions !== undefined) parts.push(`${decisions} ${decisions === 1 ? 'decision' : 'decisions'}`);
  if (refused !== undefined) parts.push(`${refused} refused`);
  if (dead !== undefined) parts.push(`${dead} dead`);
  return parts.join(', ');
}
