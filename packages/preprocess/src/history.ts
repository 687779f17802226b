// The last samples of a stream at absolute positions. They are written once and never moved, so that what was cut out of
// them can be copied later, or never.

const BLOCK = 4096;

interface Block {
  readonly at: number;
  readonly channels: readonly Float32Array[];
}

export interface History {
  /** One past the last position. */
  readonly end: number;
  /** One array per channel, of one length. */
  readonly push: (channels: readonly Float32Array[]) => void;
  /** What lies before is given up. */
  readonly drop: (before: number) => void;
  /** @returns the samples `from` to before `to` per channel, copied when asked for; before position 0 there are zeros */
  readonly cut: (from: number, to: number) => () => Float32Array<ArrayBuffer>[];
  readonly bytes: number;
}

/** @param longest that will be cut: a small one needs no large blocks */
export function createHistory(channels: number, begin: number, longest: number): History {
  const size = Math.max(64, Math.min(BLOCK, longest));
  let blocks: Block[] = [];
  let end = begin;

  const push = (samples: readonly Float32Array[]) => {
    const length = samples[0]?.length ?? 0;
    for (let done = 0; done < length; ) {
      let last = blocks.at(-1);
      if (last === undefined || last.at + size === end) {
        last = { at: end, channels: Array.from({ length: channels }, () => new Float32Array(size)) };
        blocks.push(last);
      }
      const part = Math.min(length - done, last.at + size - end);
      for (const [c, all] of samples.entries()) last.channels[c]?.set(all.subarray(done, done + part), end - last.at);
      done += part;
      end += part;
    }
  };

  const cut = (from: number, to: number) => {
    const used = blocks.filter(({ at }) => at < to && at + size > from);
    return () =>
      Array.from({ length: channels }, (_, c) => {
        const out = new Float32Array(to - from);
        for (const { at, channels: all } of used) {
          const first = Math.max(from, at);
          out.set((all[c] as Float32Array).subarray(first - at, Math.min(to, at + size) - at), first - from);
        }
        return out;
      });
  };

  return {
    get end() {
      return end;
    },
    push,
    drop: (before) => {
      const first = blocks.findIndex(({ at }) => at + size > before);
      if (first !== 0) blocks = first < 0 ? [] : blocks.slice(first);
    },
    cut,
    get bytes() {
      return blocks.length * size * channels * 4;
    },
  };
}
