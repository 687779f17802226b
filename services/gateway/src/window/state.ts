import type { Unit, UnitAnswer } from '../decide/unit.ts';
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
    const oldest = lane.chains.keys().next().value;
    if (oldest !== undefined) lane.chains.delete(oldest);
  }
  return chain;
}

// Recurrent state travels by value: it goes with a unit and comes back with its answer. A unit that is dead or expired leaves it
// as it was; the first after a gap begins without one.

/** A unit whose model has states was taken. */
export function beginUnit({ lane, frame, formed }: Unit): void {
  const chain = formed?.chain ?? chainOf(lane, frame.id.boot, frame.plan);
  const fresh = formed === undefined ? chain.next(frame.id.seq) : formed.fresh;
  if (fresh) chain.states = undefined;
}

/** It is decided: what it leaves is what the next one starts from. */
export function keepState({ lane, frame, prepared }: Unit, { states }: UnitAnswer): void {
  const chain = lane.chains.get(frame.id.boot);
  if (chain === undefined || prepared === undefined) return;
  chain.states = states;
  chain.statesOf = prepared.model.passportSha256;
}
