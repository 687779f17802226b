export interface WindowSpec {
  /** Samples that one unit decides about. */
  readonly window: number;
  /** Samples from one window to the next. Default: `window`. */
  readonly hop?: number | undefined;
  /** Samples before the window that go in front of it. Default 0. */
  readonly context?: number | undefined;
}

/**
 * Where whole windows lie in the samples from `at` on: at absolute positions, the multiples of `hop`, wherever the
 * samples were cut. A window counts where all of it and all of its context are there; before position 0 the context is
 * zeros. A last window that is not whole is none, the next samples may complete it.
 * @param length how many samples there are, the first of them at position `at`
 * @returns how many windows, and the absolute position of the first
 */
export function windowsIn(length: number, { window, hop = window, context = 0 }: WindowSpec, at = 0) {
  const first = at === 0 ? 0 : Math.ceil((at + context) / hop) * hop;
  const count = Math.max(0, Math.floor((at + length - window - first) / hop) + 1);
  return { first, count };
}

/**
 * The windows of `windowsIn`, each a copy of `context + window` samples.
 * @param samples of one channel; `at` is the absolute position of the first of them
 */
export function* windowsOf(samples: Float32Array, spec: WindowSpec, at = 0): Generator<Float32Array<ArrayBuffer>> {
  const { window, hop = window, context = 0 } = spec;
  const { first, count } = windowsIn(samples.length, spec, at);
  for (let i = 0; i < count; i++) {
    const start = first + i * hop - at;
    const out = new Float32Array(context + window);
    const from = Math.max(0, start - context);
    out.set(samples.subarray(from, start + window), context - (start - from));
    yield out;
  }
}
