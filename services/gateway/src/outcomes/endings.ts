import type { Clock } from '@brink/runtime';
import { type Ending, outcomeJson, type Unit } from '../decide/unit.ts';
import type { Spooled } from '../ingest/frame.ts';
import type { GatewayMetrics } from '../metrics.ts';
import type { Backlog } from '../spool/backlog.ts';
import { type Counts, countSettled, type UnitDropReason } from './counts.ts';
import type { Outbox } from './outbox.ts';

/** The end of a unit: its outcome goes to control, and when that is settled, so is the unit. */
export function createEndings(
  config: { instance: string },
  d: {
    clock: Clock;
    counts: Counts;
    outbox: Outbox;
    backlog: Pick<Backlog, 'settle' | 'notTried' | 'giveBack'>;
    failpoint(name: string): void;
    onDropped(reason: UnitDropReason, of: { device: string; stream: string }): void;
    metrics: () => GatewayMetrics;
  },
) {
  /**
   * Made apart from `ended` so that it keeps hold of nothing but this: an outcome may wait for control for hours, and the
   * frame must not wait with it.
   */
  function settler({ pipeline, part, frame: { onSettled, id } }: Unit, outcome: Ending['outcome']) {
    const since = d.clock.monotonic();
    return (fate: 'committed' | UnitDropReason): void => {
      countSettled(d.counts.units(pipeline.name), fate === 'committed' ? outcome : 'dropped');
      if (fate === 'committed') d.metrics().stages.committed(pipeline.name, d.clock.monotonic() - since);
      else d.onDropped(fate, id);
      onSettled?.(pipeline, part, fate === 'committed' ? 'committed' : 'dropped');
    };
  }

  /** Of a frame in the spool: its row goes when control has it, and stays when this process ends before. */
  function spooledSettler(spooled: Spooled, unit: Unit, { outcome }: Ending) {
    const { pipeline, part, left, frame } = unit;
    const { onSettled, id } = frame;
    const of = { pipeline: pipeline.name, part, kept: left?.states };
    const since = d.clock.monotonic();
    const settle = (fate: 'committed' | UnitDropReason) =>
      d.backlog.settle(spooled, of, fate === 'committed' ? outcome : 'dropped', () => {
        d.failpoint('outcome.after_settle');
        onSettled?.(pipeline, part, fate === 'committed' ? 'committed' : 'dropped');
      });
    return (fate: 'committed' | UnitDropReason): void => {
      if (fate === 'control_down') return;
      d.failpoint('outcome.after_commit');
      if (fate === 'committed') d.metrics().stages.committed(pipeline.name, d.clock.monotonic() - since);
      else d.onDropped(fate, id);
      // The state on the disk is that of the last unit that was settled, so they are settled one after the other.
      if (left === undefined) settle(fate);
      else left.memory.inOrder(left.key, () => settle(fate));
    };
  }

  return {
    ended(unit: Unit, ending: Ending): void {
      const now = d.clock.monotonic();
      d.metrics().latency.observe(Math.max(0, now - unit.frame.receivedAt) / 1000);
      d.metrics().stages.ended(unit, ending);
      const json = outcomeJson(unit, ending, now, config.instance);
      const { frame } = unit;
      if (frame.spooled === undefined) d.outbox.add(json, settler(unit, ending.outcome));
      else {
        d.failpoint('outcome.before_send');
        d.outbox.add(json, spooledSettler(frame.spooled, unit, ending), true);
      }
    },
    /** Its window is of no use with what the model takes now. A frame that is kept is cut again. */
    miscut(unit: Unit): void {
      if (unit.frame.spooled === undefined) settler(unit, 'dead')('configuration');
      else d.backlog.giveBack(unit);
    },
    /** Given up without an outcome. */
    dropped(unit: Unit, reason: UnitDropReason): void {
      if (unit.frame.spooled === undefined) settler(unit, 'dead')(reason);
      else d.backlog.notTried(unit);
    },
  };
}
