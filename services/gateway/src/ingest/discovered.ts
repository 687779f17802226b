import type { SniffedType } from '@brink/decode';
import type { Discovered } from '@brink/protocol';
import { type Looks, looksLike } from './looks.ts';
import { type Choice, pasteOf } from './paste.ts';

interface Entry {
  readonly device: string;
  readonly stream: string;
  topic: string;
  type: SniffedType;
  bytes: number;
  frames: number;
  readonly firstAtMs: number;
  lastAtMs: number;
  /** The beginning of a frame of this type, until somebody asks what it looks like. */
  sample: { readonly bytes: Uint8Array; readonly whole: boolean } | undefined;
  looks: Looks | undefined;
}

/** As much as a person could say something about; with 100 entries it bounds what is kept of them. */
const SAMPLE_BYTES = 16 * 1024;

/**
 * Frame topics that no stream takes, most recently seen last. Bounded: the one that was silent longest makes room.
 * @param d.devicesOf the glob of a stream that there is
 * @param d.models of which one can be chosen
 */
export function createDiscovered(
  config: { entriesMax: number },
  d: { devicesOf(stream: string): string | undefined; models(): readonly Choice[] } = {
    devicesOf: () => undefined,
    models: () => [],
  },
) {
  const entries = new Map<string, Entry>();
  let evicted = 0;
  return {
    see(device: string, stream: string, topic: string, type: SniffedType, payload: Uint8Array, nowMs: number): void {
      const key = `${device}/${stream}`;
      const known = entries.get(key);
      entries.delete(key);
      entries.set(key, seen({ device, stream, topic, type, payload, nowMs }, known));
      if (entries.size <= config.entriesMax) return;
      const oldest = entries.keys().next().value;
      if (oldest !== undefined) entries.delete(oldest);
      evicted += 1;
    },
    /** A stream that is declared now is no discovery any more. */
    forget(taken: (device: string, stream: string) => boolean): void {
      for (const [key, entry] of entries) {
        if (taken(entry.device, entry.stream)) entries.delete(key);
      }
    },
    /** Last seen first. All entries of a stream have the same to paste: it can be declared only once. */
    report(): Discovered[] {
      const all = [...entries.values()].reverse();
      const pastes = new Map<string, string>();
      for (const [stream, of] of Map.groupBy(all, ({ stream }) => stream)) {
        const senders = of.map((entry) => ({ device: entry.device, bytes: entry.bytes, looks: looksOf(entry) }));
        const choice = { devices: d.devicesOf(stream), models: d.models() };
        pastes.set(stream, pasteOf(stream, senders as [(typeof senders)[0], ...typeof senders], choice));
      }
      return all.map((entry) => {
        const { device, stream, topic, type, bytes, frames, lastAtMs } = entry;
        const paste = pastes.get(stream) ?? '';
        return { device, stream, topic, type, bytes, frames, per_s: rateOf(entry), last_at_ms: lastAtMs, paste };
      });
    },
    get size() {
      return entries.size;
    },
    get evicted() {
      return evicted;
    },
  };
}

export type DiscoveredStreams = ReturnType<typeof createDiscovered>;

interface Sight {
  device: string;
  stream: string;
  topic: string;
  type: SniffedType;
  payload: Uint8Array;
  nowMs: number;
}

function seen({ device, stream, topic, type, payload, nowMs }: Sight, known: Entry | undefined): Entry {
  const same = known !== undefined && known.type === type;
  const sample = () => ({
    bytes: new Uint8Array(payload.subarray(0, SAMPLE_BYTES)),
    whole: payload.byteLength <= SAMPLE_BYTES,
  });
  return {
    ...{ device, stream, topic: topic.slice(0, 200), type, bytes: payload.byteLength },
    ...{ frames: (known?.frames ?? 0) + 1, firstAtMs: known?.firstAtMs ?? nowMs, lastAtMs: nowMs },
    ...(same ? { sample: known.sample, looks: known.looks } : { sample: sample(), looks: undefined }),
  };
}

/** Frames per second since the first, to two digits; 0 where there was only one. */
function rateOf({ frames, firstAtMs, lastAtMs }: Entry): number {
  const ms = lastAtMs - firstAtMs;
  return ms <= 0 ? 0 : Number((((frames - 1) * 1000) / ms).toPrecision(2));
}

/** Its beginning is looked into once. */
function looksOf(entry: Entry): Looks {
  entry.looks ??= looksLike(entry.type, entry.sample?.bytes ?? new Uint8Array(), entry.sample?.whole ?? false);
  return entry.looks;
}
