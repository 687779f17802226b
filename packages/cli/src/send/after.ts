import type { Device } from '@brink/device';
import { decisionLine } from '../show.ts';
import type { Context, VerbOptions } from '../verb.ts';
import { illAsFarAsKnown, untilNobodyTakes } from './fate.ts';
import { allReceipts } from './ways.ts';

// When all frames are out: what became of them, as far as somebody says so in a short time.

export interface After {
  readonly context: Context;
  readonly options: VerbOptions;
  readonly device: Device;
  readonly stream: string;
  readonly note: (text: string) => void;
}

export const SHOWN_MAX = 5;
/** For what becomes of the last frame, where nobody watches. */
const LOOK_MS = 1000;

/** Waits for the receipts of kept frames: not where there is no broker, nor longer than until control says that no stream takes them. */
export async function receiptsOf({ context, options, device, stream, note }: After, folder: string): Promise<void> {
  if (device.connected) {
    const over = new AbortController();
    const untilOver = AbortSignal.any([context.signal, over.signal]);
    const before = device.waiting;
    const nobody = untilNobodyTakes(context, options, { device: device.name, stream }, untilOver).then((why) => {
      // Once there was a receipt somebody takes them, whatever was seen before.
      if (why === undefined || device.waiting < before) return;
      note(why);
      over.abort();
    });
    await allReceipts(device, untilOver);
    over.abort();
    await nobody;
  }
  if (device.waiting > 0) note(leftOver(device.waiting, folder, device.connected));
}

/** Looks for frames that were refused, dead or taken by no stream, and says what it finds. @param seq the last one */
export async function lookedAt(
  { context, options, device, stream, note }: After,
  seq: number,
): Promise<{ refused?: number; dead?: number; unwanted?: boolean }> {
  const sent = { device: device.name, stream, boot: device.boot, seq };
  const { refused = [], dead = [], why } = (await illAsFarAsKnown(context, options, sent, LOOK_MS)) ?? {};
  for (const letter of refused.slice(0, SHOWN_MAX)) {
    note(`frame ${letter.seq} was refused: ${letter.error.code}: ${letter.error.detail}`);
  }
  for (const decision of dead.slice(0, SHOWN_MAX)) note(decisionLine(decision, context.paint));
  if (why !== undefined) note(why);
  return {
    ...(refused.length > 0 ? { refused: refused.length } : {}),
    ...(dead.length > 0 ? { dead: dead.length } : {}),
    ...(why !== undefined ? { unwanted: true } : {}),
  };
}

const leftOver = (waiting: number, folder: string, connected: boolean) =>
  `${waiting} ${waiting === 1 ? 'frame waits' : 'frames wait'} in ${folder}; run again to send ${waiting === 1 ? 'it' : 'them'}` +
  (connected ? '. There is no receipt: receipts come from streams with `delivery: durable`' : '');
