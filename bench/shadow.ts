import { startChild } from './child.ts';

export interface ShadowSetup {
  readonly socket: string;
  readonly model: string;
  readonly clients: number;
}
export interface ShadowReply {
  readonly units: number;
  /** one entry per unit */
  readonly batches: readonly { readonly batch: number; readonly inferMs: number }[];
}

/** A load of shadow units that can be switched on and off. */
export async function startShadow(setup: ShadowSetup) {
  const child = startChild<ShadowReply>('shadow-child.ts');
  await child.ask(setup);
  return {
    on: () => child.ask(true),
    /** @returns what was computed since it was switched on */
    off: () => child.ask(false),
    [Symbol.asyncDispose]: child[Symbol.asyncDispose],
  };
}
