import type { GatewayReport } from '@brink/protocol';

/** Messages on the frame topic of one stream of one device. received = accepted + duplicate + rejected + dropped. */
export interface FrameCounts {
  received: number;
  accepted: number;
  duplicate: number;
  rejected: number;
  dropped: number;
  lastAtMs: number;
  /** Why frames, and units of frames that were taken, were given up; since the start of this process. */
  drops: Partial<Record<DropReason, number>> | undefined;
}

/** Why samples that waited for a whole window were given up: for others, by their age, or because nothing comes behind them. */
export type UnfinishedReason = 'no_room' | 'too_old' | 'boot_over' | 'configuration';
export type OnUnfinished = (
  reason: UnfinishedReason,
  of: { readonly device: string; readonly stream: string },
  frames: number,
) => void;

/** replaced: a newer one came. unseen: nobody knew yet what its models take. The others are those of units, and of samples. */
/** Why a unit that was formed has no outcome. */
export type UnitDropReason = 'replaced' | 'every_ms' | 'control_down' | 'refused' | 'configuration' | 'stopped';

export type DropReason = UnitDropReason | UnfinishedReason | 'unseen';

/** Units of one pipeline. formed = decided + expired + dead + dropped + pending. */
export interface UnitCounts {
  formed: number;
  decided: number;
  expired: number;
  dead: number;
  dropped: number;
  pending: number;
}

export type FrameFate = 'accepted' | 'duplicate' | 'rejected';
export type UnitFate = 'decided' | 'expired' | 'dead' | 'dropped';

const noFrames = (): FrameCounts => ({
  received: 0,
  accepted: 0,
  duplicate: 0,
  rejected: 0,
  dropped: 0,
  lastAtMs: 0,
  drops: undefined,
});
const noUnits = (): UnitCounts => ({ formed: 0, decided: 0, expired: 0, dead: 0, dropped: 0, pending: 0 });

// The only ways to change a count. Each keeps its law, so both hold at every moment, and none ever goes down but `pending`.

export function countFrame(row: FrameCounts, fate: FrameFate, nowMs: number): void {
  row.received += 1;
  row[fate] += 1;
  row.lastAtMs = nowMs;
}

/** The frame takes the place of one that was accepted and waited: that one is dropped, this one is accepted in its stead. */
export function countReplacement(row: FrameCounts, nowMs: number, reason: 'replaced' | 'unseen'): void {
  row.received += 1;
  row.dropped += 1;
  row.lastAtMs = nowMs;
  countDrop(row, reason);
}

/** Why something of this device's stream was given up. It is counted as dropped elsewhere. */
export function countDrop(row: FrameCounts, reason: DropReason, by = 1): void {
  row.drops ??= {};
  row.drops[reason] = (row.drops[reason] ?? 0) + by;
}

export function countFormed(row: UnitCounts): void {
  row.formed += 1;
  row.pending += 1;
}

export function countSettled(row: UnitCounts, fate: UnitFate): void {
  row.pending -= 1;
  row[fate] += 1;
}

/**
 * What the spool committed about a durable stream, in the names of its counter table: `received`, `accepted`, … of the stream, and
 * `<pipeline>/formed`, `<pipeline>/decided`, … of its units. At the start these are the sums of all processes before.
 * @param nowMs 0 where no frame came in
 */
export function countSpooled(
  counts: Counts,
  { device, stream }: { device: string; stream: string },
  names: readonly string[],
  nowMs: number,
  by = 1,
): void {
  const row = counts.frames(device, stream);
  if (nowMs > 0) row.lastAtMs = nowMs;
  for (const name of names) {
    const [first, fate] = name.split('/') as [string, (UnitFate | 'formed')?];
    if (fate === undefined) row[first as FrameFate | 'received'] += by;
    else {
      const units = counts.units(first);
      units[fate] += by;
      units.pending += fate === 'formed' ? by : -by;
    }
  }
}

/** Both laws in one object. Plain integers: what counts a frame must not cost as much as the frame. */
export function createCounts() {
  const streams = new Map<string, { device: string; stream: string; row: FrameCounts }>();
  const pipelines = new Map<string, UnitCounts>();
  const gaps = new Map<string, number>();
  return {
    /** A device left numbers out: frames that it lost, or never made. No part of the laws. */
    gap(stream: string): void {
      gaps.set(stream, (gaps.get(stream) ?? 0) + 1);
    },
    gaps: () => gaps.entries(),
    /** Messages that belong to no stream of the configuration, or whose topic cannot be read. */
    elsewhere: noFrames(),
    /** Rows stay when a stream leaves the configuration: what was received was received. */
    frames(device: string, stream: string): FrameCounts {
      const key = `${device}/${stream}`;
      let entry = streams.get(key);
      if (entry === undefined) {
        entry = { device, stream, row: noFrames() };
        streams.set(key, entry);
      }
      return entry.row;
    },
    has: (device: string, stream: string) => streams.has(`${device}/${stream}`),
    get rows() {
      return streams.size;
    },
    units(pipeline: string): UnitCounts {
      let row = pipelines.get(pipeline);
      if (row === undefined) {
        row = noUnits();
        pipelines.set(pipeline, row);
      }
      return row;
    },
    streams: () => streams.values(),
    pipelines: () => pipelines.entries(),
    report(): Pick<GatewayReport, 'streams' | 'pipelines'> {
      return {
        streams: [...streams.values()].map(({ device, stream, row }) => {
          const { lastAtMs, drops, ...counts } = row;
          return { device, stream, ...counts, last_at_ms: lastAtMs, ...(drops === undefined ? {} : { drops }) };
        }),
        pipelines: [...pipelines].map(([pipeline, row]) => ({ pipeline, ...row })),
      };
    },
  };
}

export type Counts = ReturnType<typeof createCounts>;
