import type { Counts, FrameCounts } from '../outcomes/counts.ts';
import type { Admission } from './admission.ts';
import { heirOf } from './heir.ts';
import { createLane, type Lane } from './lanes.ts';
import { EMPTY_PLAN, matchesGlob, type SitePlan, type StreamPlan } from './plan.ts';

/** One stream of one device: its counts, its waiting places, and which of its numbers were taken. */
export interface Source {
  readonly device: string;
  readonly plan: StreamPlan;
  readonly row: FrameCounts;
  readonly lanes: readonly Lane[];
  /** For frames without a number of their own. */
  lastSeq: number;
  /** Highest seq taken, per boot of the device. Frames come in order, so a lower one is a repetition. */
  readonly boots: Map<string, number>;
}

/** Boots that are remembered per source: a device has one, a re-sent outbox brings back older ones. */
const BOOTS_MAX = 8;

/** Table of sources. Bounded: a device that makes up stream names gets no further than the configuration. */
export function createSources(config: { sourcesMax: number }, d: { counts: Counts; admission: Admission }) {
  const sources = new Map<string, Source>();
  let plan: SitePlan = EMPTY_PLAN;

  function planFor(device: string, stream: string): StreamPlan | undefined {
    const found = plan.streams.get(stream);
    return found !== undefined && matchesGlob(found.devices, device) ? found : undefined;
  }

  return {
    get plan() {
      return plan;
    },

    /**
     * @returns 'waiting' where the device is not approved, 'unknown' where no stream takes its frames, 'full' where there is no room for
     * one more source
     */
    find(device: string, stream: string): Source | 'waiting' | 'unknown' | 'full' {
      if (plan.approved?.has(device) === false) return 'waiting';
      const key = `${device}/${stream}`;
      const known = sources.get(key);
      if (known !== undefined) return known;
      const found = planFor(device, stream);
      if (found === undefined) return 'unknown';
      if (!d.counts.has(device, stream) && d.counts.rows >= config.sourcesMax) return 'full';
      const source: Source = {
        device,
        plan: found,
        row: d.counts.frames(device, stream),
        lanes: found.pipelines.map((pipeline) => createLane(pipeline, found)),
        lastSeq: 0,
        boots: new Map(),
      };
      sources.set(key, source);
      return source;
    },

    /**
     * Sources whose stream did not change keep what waits; of the others it is dropped and counted. What is under way ends, and a
     * pipeline goes on where it stands, as far as that still means something.
     */
    apply(next: SitePlan): void {
      plan = next;
      for (const [key, source] of sources) {
        const found = planFor(source.device, source.plan.name);
        if (found !== undefined && JSON.stringify(found) === JSON.stringify(source.plan)) continue;
        d.admission.abandon(source.lanes, 'configuration');
        for (const lane of source.lanes) lane.isOver = true;
        if (found === undefined) sources.delete(key);
        else
          sources.set(key, {
            ...source,
            plan: found,
            lanes: found.pipelines.map((pipeline) => heirOf(source, pipeline, found)),
          });
      }
    },

    /** The lanes of a durable stream begin again with its rows: a model takes another input now. */
    renew(stream: string, model: string): void {
      for (const [key, source] of sources) {
        if (source.plan.name !== stream) continue;
        d.admission.abandon(source.lanes, 'configuration');
        for (const lane of source.lanes) lane.isOver = true;
        const lanes = source.plan.pipelines.map((pipeline) => heirOf(source, pipeline, source.plan));
        // What every_ms let through is dropped, and something else takes its place.
        for (const lane of lanes) if (lane.pipeline.model === model) lane.nextAt = Number.NEGATIVE_INFINITY;
        sources.set(key, { ...source, lanes });
      }
    },

    /** Of every source. */
    *lanes(): Generator<Lane> {
      for (const source of sources.values()) yield* source.lanes;
    },

    abandonAll(): void {
      for (const source of sources.values()) d.admission.abandon(source.lanes, 'stopped');
    },
  };
}

export type Sources = ReturnType<typeof createSources>;

/** Takes a number. @returns false where it, or a later one of the same boot, was taken before */
export function takeSeq(
  source: Source,
  { boot, seq }: { readonly boot: string; readonly seq: number },
  counts: Pick<Counts, 'gap'>,
): boolean {
  const last = source.boots.get(boot);
  if (last !== undefined && seq <= last) return false;
  if (last !== undefined && seq > last + 1) counts.gap(source.plan.name);
  if (last === undefined && source.boots.size >= BOOTS_MAX) {
    const oldest = source.boots.keys().next().value;
    if (oldest !== undefined) source.boots.delete(oldest);
  }
  source.boots.set(boot, seq);
  return true;
}
