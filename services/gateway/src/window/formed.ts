import type { FormedWindow } from '@brink/preprocess';
import type { BrinkError } from '@brink/protocol';

/** One unit that a frame completed: a window, or the reason why there is none. */
export interface FormedUnit {
  readonly window: FormedWindow | undefined;
  /** Why the frame cannot become what the model takes. */
  readonly error: BrinkError | undefined;
  /** Gaps of its boot in front of it; undefined: it is no window. */
  readonly gaps: number | undefined;
  /** The frames that it looks at; the last is the one that completed it. */
  readonly frames: { readonly first: number; readonly last: number; readonly received: number };
  /** The inputs that it was cut for. */
  readonly inputsKey: string;
}
