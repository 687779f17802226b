import type { DeadRecord, Decision, Discovered } from '@brink/protocol';
import { systemClock, wait } from '@brink/runtime';
import type { Api } from '../api.ts';
import { printable } from '../terminal.ts';
import { type Context, usingApi, type VerbOptions } from '../verb.ts';

export interface Sent {
  readonly device: string;
  readonly stream: string;
  readonly boot: string;
  readonly seq: number;
}

/** Of one device's stream, newest first: a camera that keeps sending must not hide ours. */
const DEAD_LOOKED_AT = 100;

/** Those of these frames that were refused by name. */
export async function refusedOf(
  api: Pick<Api, 'get'>,
  { device, stream, boot }: Omit<Sent, 'seq'>,
): Promise<DeadRecord[]> {
  const dead = await api.get<{ items: DeadRecord[] }>('/v1/dead', { device, stream, limit: DEAD_LOOKED_AT });
  return dead.items.filter((letter) => letter.boot === boot);
}

/** Why nothing was decided of a frame, as far as control can say. */
export async function fateOf(api: Pick<Api, 'get'>, frame: Sent): Promise<string | undefined> {
  const { device, stream, seq } = frame;
  const refused = (await refusedOf(api, frame)).find((letter) => letter.seq === seq);
  if (refused !== undefined) return `refused: ${refused.error.code}: ${printable(refused.error.detail)}`;
  return (await isTaken(api, frame)) ? undefined : notTaken(device, stream);
}

const notTaken = (device: string, stream: string) =>
  `no stream of the configuration takes ${device}/${stream}; \`brink discovered\` shows what to paste`;

/** false where control saw frames of it that no stream takes. */
async function isTaken(api: Pick<Api, 'get'>, { device, stream }: Omit<Sent, 'boot' | 'seq'>): Promise<boolean> {
  const discovered = await api.get<{ items: Discovered[] }>('/v1/discovered');
  return !discovered.items.some((found) => found.device === device && found.stream === stream);
}

/** What is known to have gone wrong with frames of one start, as far as was looked back. */
export interface Ill {
  readonly refused: readonly DeadRecord[];
  readonly dead: readonly Decision[];
  /** No stream takes them. */
  readonly why?: string;
}

const LOOK_MS = 50;

/**
 * Looks what became of the frames up to `sent.seq`, until something is known of the last one, `ms` at most. That a window did not end
 * in it, or that frames were passed over, is no trouble: what is not known is not told.
 */
async function illOf(api: Pick<Api, 'get'>, sent: Sent, ms: number, signal: AbortSignal): Promise<Ill> {
  const { device, stream, boot, seq } = sent;
  const query = { device, stream, limit: DEAD_LOOKED_AT };
  for (const endMs = performance.now() + ms; ; ) {
    const refused = await refusedOf(api, sent);
    const newest = await api.get<{ items: Decision[] }>('/v1/decisions', query);
    const ours = newest.items.filter(({ frames }) => frames.boot === boot);
    const known = refused.some((letter) => (letter.seq ?? 0) >= seq) || ours.some(({ frames }) => frames.last >= seq);
    if (known || performance.now() > endMs || signal.aborted) {
      const dead = ours.filter(({ outcome }) => outcome === 'dead');
      const taken = known || ours.length > 0 || refused.length > 0 || (await isTaken(api, sent));
      return { refused, dead, ...(taken ? {} : { why: notTaken(device, stream) }) };
    }
    await wait(LOOK_MS, systemClock, signal).catch(() => {});
  }
}

/** Where control cannot be asked within the time, nothing is known: undefined. */
export async function illAsFarAsKnown(
  context: Context,
  options: VerbOptions,
  sent: Sent,
  ms: number,
): Promise<Ill | undefined> {
  const enough = new AbortController();
  const late = wait(2 * ms, systemClock, AbortSignal.any([enough.signal, context.signal])).catch(() => {});
  const look = async (api: Api) =>
    Promise.race([illOf(api, sent, ms, context.signal).catch(() => undefined), late.then(() => undefined)]);
  return usingApi(context, options, look)
    .catch(() => undefined)
    .finally(() => enough.abort());
}

const NOBODY_MS = 1000;

/** Resolves with the reason once control says that no stream takes this one; else when the signal aborts. */
export async function untilNobodyTakes(
  context: Context,
  options: VerbOptions,
  sent: Omit<Sent, 'boot' | 'seq'>,
  signal: AbortSignal,
): Promise<string | undefined> {
  while (!signal.aborted) {
    await wait(NOBODY_MS, systemClock, signal).catch(() => {});
    if (signal.aborted) return undefined;
    const taken = await usingApi(context, options, (api) => isTaken(api, sent)).catch(() => true);
    if (!taken) return notTaken(sent.device, sent.stream);
  }
  return undefined;
}

export async function whyMissing(context: Context, options: VerbOptions, frame: Sent, waitMs: number): Promise<string> {
  // The broker has the frame: that control cannot be asked is no failure of sending it.
  const fate = await usingApi(context, options, (api) => fateOf(api, frame)).catch(() => undefined);
  return fate ?? `no decision within ${waitMs} ms; \`brink status\` counts what became of it`;
}
