import type { Change, Numbers, Rejection, SpoolContents } from './messages.ts';
import { NO_NUMBERS } from './numbers.ts';
import type { Receipted } from './receipts.ts';

/** One boot of one device's stream. */
export interface Boot extends Receipted {
  committed: Numbers;
  /** With what is on its way to the disk. */
  tentative: Numbers;
  rejected: readonly Rejection[];
  /** The boot that went for this one, until that is committed. */
  forgets: string | undefined;
}

/** Boots that are remembered per device and stream: one is in use, an outbox that is sent again brings older ones. */
const BOOTS_MAX = 16;
/** Refusals that a receipt repeats. */
const REJECTED_MAX = 64;

/** Which numbers of which boots were taken. */
export function createBoots() {
  const sources = new Map<string, Map<string, Boot>>();

  return {
    restore(boots: SpoolContents['boots']): void {
      for (const { device, stream, boot, through, above, rejected } of boots) {
        const known = sources.get(`${device}/${stream}`) ?? new Map<string, Boot>();
        sources.set(`${device}/${stream}`, known);
        const numbers = { through, above };
        known.set(boot, { boot, committed: numbers, tentative: numbers, rejected, forgets: undefined });
      }
    },

    find(device: string, stream: string, boot: string): Boot {
      const key = `${device}/${stream}`;
      let known = sources.get(key);
      if (known === undefined) {
        known = new Map();
        sources.set(key, known);
      }
      let state = known.get(boot);
      if (state !== undefined) return state;
      const oldest = known.size < BOOTS_MAX ? undefined : known.keys().next().value;
      if (oldest !== undefined) known.delete(oldest);
      // It is back before it was forgotten.
      for (const other of known.values()) if (other.forgets === boot) other.forgets = undefined;
      state = { boot, committed: NO_NUMBERS, tentative: NO_NUMBERS, rejected: [], forgets: oldest };
      known.set(boot, state);
      return state;
    },
  };
}

/** Puts new numbers, and perhaps a refusal, into a change; they are what is known from now on, and what is certain once it is committed. */
export function withNumbers(state: Boot, tentative: Numbers, rejection?: Rejection): NonNullable<Change['numbers']> {
  state.tentative = tentative;
  if (rejection !== undefined) state.rejected = [...state.rejected, rejection].slice(-REJECTED_MAX);
  return { boot: state.boot, ...tentative, rejected: state.rejected };
}
