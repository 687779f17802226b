import { type Spooled, unitOf } from '../ingest/frame.ts';
import type { StreamPlan } from '../ingest/plan.ts';
import type { OnUnfinished, UnitFate } from '../outcomes/counts.ts';
import type { Change } from './messages.ts';

/** A unit as its row knows it. */
export interface Settled {
  readonly pipeline: string;
  readonly part: number;
  /** Where its model has states: what it left. */
  readonly kept: Uint8Array | undefined;
}

/**
 * Units of pipelines that the configuration has no more, or has otherwise, are dropped; their samples are needed no more.
 * @param plan undefined: nobody asks for the row
 */
export function dropOthers(
  plan: StreamPlan | undefined,
  spooled: Spooled,
  d: {
    write(change: Change, done: () => void): void;
    settle(spooled: Spooled, of: Settled, fate: UnitFate): void;
    onDropped(reason: 'configuration', of: { device: string; stream: string }): void;
    onUnfinished: OnUnfinished;
    /** Nothing of the row is under way. */
    onQuiet(spooled: Spooled): void;
  },
): void {
  const { device, stream } = spooled;
  const isAsBefore = plan !== undefined && (plan.samples === undefined) === (spooled.samples === undefined);
  const stays = (name: string) => isAsBefore && plan.pipelines.some((pipeline) => pipeline.name === name);
  for (const key of spooled.left) {
    const { pipeline, part } = unitOf(key);
    if (stays(pipeline) || spooled.out.has(key)) continue;
    spooled.out.add(key);
    d.onDropped('configuration', spooled);
    d.settle(spooled, { pipeline, part, kept: undefined }, 'dropped');
  }
  for (const name of spooled.samples?.keys() ?? []) {
    if (stays(name)) continue;
    d.onUnfinished('configuration', spooled, 1);
    const cut = { frame: spooled.id, pipeline: name, parts: [] };
    d.write({ device, stream, cut, released: { frames: [spooled.id], pipeline: name } }, () => {
      spooled.samples?.delete(name);
      if (spooled.left.size === 0) d.onQuiet(spooled);
    });
  }
}
