import type { DeadRecord, Discovered } from '@brink/protocol';
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
  const discovered = await api.get<{ items: Discovered[] }>('/v1/discovered');
  if (!discovered.items.some((found) => found.device === device && found.stream === stream)) return undefined;
  return `no stream of the configuration takes ${device}/${stream}; \`brink discovered\` shows what to paste`;
}

export async function whyMissing(context: Context, options: VerbOptions, frame: Sent, waitMs: number): Promise<string> {
  // The broker has the frame: that control cannot be asked is no failure of sending it.
  const fate = await usingApi(context, options, (api) => fateOf(api, frame)).catch(() => undefined);
  return fate ?? `no decision within ${waitMs} ms; \`brink status\` counts what became of it`;
}
