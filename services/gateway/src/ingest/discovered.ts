import { isPicture, type SniffedType } from '@brink/decode';
import type { Discovered } from '@brink/protocol';

interface Entry {
  readonly device: string;
  readonly stream: string;
  topic: string;
  type: SniffedType;
  bytes: number;
  frames: number;
  lastAtMs: number;
}

/** Frame topics that no stream takes, most recently seen last. Bounded: the one that was silent longest makes room. */
export function createDiscovered(config: { entriesMax: number }) {
  const entries = new Map<string, Entry>();
  let evicted = 0;
  return {
    see(device: string, stream: string, topic: string, type: SniffedType, bytes: number, nowMs: number): void {
      const key = `${device}/${stream}`;
      const frames = (entries.get(key)?.frames ?? 0) + 1;
      entries.delete(key);
      entries.set(key, { device, stream, topic: topic.slice(0, 200), type, bytes, frames, lastAtMs: nowMs });
      if (entries.size <= config.entriesMax) return;
      const oldest = entries.keys().next().value;
      if (oldest !== undefined) entries.delete(oldest);
      evicted += 1;
    },
    /** A stream that is declared now is no discovery any more. */
    forget(taken: (device: string, stream: string) => boolean): void {
      for (const [key, { device, stream }] of entries) if (taken(device, stream)) entries.delete(key);
    },
    /** Last seen first. */
    report(): Discovered[] {
      return [...entries.values()].reverse().map(({ lastAtMs, ...entry }) => ({
        ...entry,
        last_at_ms: lastAtMs,
        paste: paste(entry.device, entry.stream, entry.type, entry.bytes),
      }));
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

/** What to put into config/streams.yaml to take these frames. The model is left for the reader to choose. */
function paste(device: string, stream: string, type: SniffedType, bytes: number): string {
  const limit = bytes > 512 * 1024 ? `\n    frame_bytes_max: ${2 ** Math.ceil(Math.log2(bytes * 2))}` : '';
  const format = isPicture(type) ? 'image' : 'tensor';
  const note = isPicture(type) ? '' : `  # looked like ${type}`;
  return `streams:
  ${stream}:
    devices: "${device}"
    format: ${format}${note}${limit}
    pipelines:
      ${stream}-model: { model: "…" }
`;
}
