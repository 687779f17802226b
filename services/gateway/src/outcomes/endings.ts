import type { Clock } from '@brink/runtime';
import { type Ending, outcomeJson, type Unit } from '../decide/unit.ts';
import type { UnitDropReason } from '../ingest/admission.ts';
import type { Frame } from '../ingest/frame.ts';
import type { PipelinePlan } from '../ingest/plan.ts';
import type { GatewayMetrics } from '../metrics.ts';
import { type Counts, countSettled } from './counts.ts';
import type { Outbox } from './outbox.ts';

/** The end of a unit: its outcome goes to control, and when that is settled, so is the unit. */
export function createEndings(
  config: { instance: string },
  d: { clock: Clock; counts: Counts; outbox: Outbox; metrics: () => GatewayMetrics },
) {
  /**
   * Made apart from `ended` so that it keeps hold of nothing but this: an outcome may wait for control for hours, and the
   * frame must not wait with it.
   */
  function settler(pipeline: PipelinePlan, onSettled: Frame['onSettled'], outcome: Ending['outcome']) {
    return (fate: 'committed' | UnitDropReason): void => {
      countSettled(d.counts.units(pipeline.name), fate === 'committed' ? outcome : 'dropped');
      if (fate !== 'committed') d.metrics().unitsDropped.inc({ reason: fate });
      onSettled?.(pipeline, fate === 'committed' ? 'committed' : 'dropped');
    };
  }

  return {
    ended(unit: Unit, ending: Ending): void {
      const now = d.clock.monotonic();
      d.metrics().latency.observe(Math.max(0, now - unit.frame.receivedAt) / 1000);
      const json = outcomeJson(unit, ending, now, config.instance);
      d.outbox.add(json, settler(unit.pipeline, unit.frame.onSettled, ending.outcome));
    },
    /** Given up without an outcome. */
    dropped(unit: Unit, reason: UnitDropReason): void {
      settler(unit.pipeline, unit.frame.onSettled, 'dead')(reason);
    },
  };
}
