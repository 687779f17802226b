import type { SniffedType } from '@brink/decode';
import type { Discovered } from '@brink/protocol';
import { looksLike } from './looks.ts';

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
  paste: string | undefined;
}

/** As much as a person could say something about; with 100 entries it bounds what is kept of them. */
const SAMPLE_BYTES = 16 * 1024;

/**
 * Frame topics that no stream takes, most recently seen last. Bounded: the one that was silent longest makes room.
 * @param d.devicesOf the glob of a stream that there is
 */
export function createDiscovered(
  config: { entriesMax: number },
  d: { devicesOf(stream: string): string | undefined } = { devicesOf: () => undefined },
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
        else entry.paste = undefined;
      }
    },
    /** Last seen first. */
    report(): Discovered[] {
      return [...entries.values()].reverse().map((entry) => {
        const { device, stream, topic, type, bytes, frames, lastAtMs } = entry;
        const paste = pasteOf(entry, d.devicesOf(stream));
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
    ...(same ? { sample: known.sample, paste: known.paste } : { sample: sample(), paste: undefined }),
  };
}

/** Frames per second since the first, to two digits; 0 where there was only one. */
function rateOf({ frames, firstAtMs, lastAtMs }: Entry): number {
  const ms = lastAtMs - firstAtMs;
  return ms <= 0 ? 0 : Number((((frames - 1) * 1000) / ms).toPrecision(2));
}

/** What to put into config/streams.yaml to take these frames. The model is left for the reader to choose. */
function pasteOf(entry: Entry, devices: string | undefined): string {
  if (entry.paste !== undefined) return entry.paste;
  const { device, stream, type, bytes, sample } = entry;
  const { lines, note } = looksLike(type, sample?.bytes ?? new Uint8Array(), sample?.whole ?? false);
  const limit = bytes > 512 * 1024 ? [`frame_bytes_max: ${2 ** Math.ceil(Math.log2(bytes * 2))}`] : [];
  const about = [
    ...(devices === undefined ? [] : [`streams.${stream} takes the devices "${devices}" alone: change its devices`]),
    ...(note === undefined ? [] : [note]),
  ];
  const of = [`devices: "${device}"`, ...lines, ...limit, 'pipelines:', `  ${stream}-model: { model: "…" }`];
  entry.paste = [
    'streams:',
    ...about.map((text) => `  # ${text}`),
    `  ${stream}:`,
    ...of.map((line) => `    ${line}`),
    '',
  ].join('\n');
  return entry.paste;
}
