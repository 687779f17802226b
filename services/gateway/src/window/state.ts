import type { Ending, Unit } from '../decide/unit.ts';
import type { Lane } from '../ingest/lanes.ts';
import type { StreamPlan } from '../ingest/plan.ts';
import { Chain } from './chain.ts';

/** Boots of one device whose place is remembered: one is in use, an outbox that is sent again brings older ones. */
const CHAINS_MAX = 8;

/** Where a boot of the lane's device stands. The one that was used longest ago goes for a new one. */
export function chainOf(lane: Lane, boot: string, plan: StreamPlan): Chain {
  let chain = lane.chains.get(boot);
  if (chain !== undefined && lane.chains.size === 1) return chain;
  if (chain !== undefined) lane.chains.delete(boot);
  chain ??= new Chain(boot, plan.samples);
  lane.chains.set(boot, chain);
  if (lane.chains.size > CHAINS_MAX) {
    // One that still has rows in the spool, or may get them again, stays: they are bounded there.
    const isDone = ({ trail, isToBeRestored }: Chain) => trail.length === 0 && !isToBeRestored;
    const oldest = [...lane.chains.values()].find(isDone);
    if (oldest !== undefined && oldest !== chain) lane.chains.delete(oldest.boot);
  }
  return chain;
}

// Recurrent state travels by value: it goes with a unit and comes back with its answer. A unit that is dead or expired leaves it
// as it was; the first after a gap begins without one.

/** A unit whose model has states was taken. */
export function beginUnit(unit: Unit): void {
  const { lane, frame, formed } = unit;
  const { memory } = chainOf(lane, frame.id.boot, frame.plan);
  memory.begin(frame.id.seq, formed);
  if (frame.spooled !== undefined) memory.follow(unit.id);
}

/** It has ended. Where it was decided, what it left is what the next one starts from. */
export function endUnit(unit: Unit, ending: Ending): void {
  const { lane, frame, prepared } = unit;
  const chain = chainOf(lane, frame.id.boot, frame.plan);
  if (ending.outcome === 'decided' && prepared !== undefined) {
    chain.memory.states = ending.answer.states;
    chain.memory.statesOf = prepared.model.passportSha256;
  }
  if (frame.spooled !== undefined)
    unit.left = { memory: chain.memory, key: unit.id, states: chain.keptStates(frame.id.seq) };
}

/** It was taken in vain: it begins again, or never. */
export function takeBackUnit({ lane, frame, id }: Unit): void {
  chainOf(lane, frame.id.boot, frame.plan).memory.unfollow(id);
}
