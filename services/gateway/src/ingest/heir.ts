import type { Chain } from '../window/chain.ts';
import { createLane, type Lane } from './lanes.ts';
import type { PipelinePlan, StreamPlan } from './plan.ts';

/**
 * A pipeline's lane under another configuration. Units of the old one that are under way go on there; where the next needs the
 * state that they leave, it waits for them.
 */
export function heirOf(
  { plan: was, lanes }: { readonly plan: StreamPlan; readonly lanes: readonly Lane[] },
  pipeline: PipelinePlan,
  plan: StreamPlan,
): Lane {
  const old = lanes.find(({ pipeline: { name } }) => name === pipeline.name);
  if (old === undefined) return createLane(pipeline, plan);
  const heir = createLane(pipeline, plan, inherited(old, was, plan));
  const { underWay, most, held, nextAt } = old;
  Object.assign(heir, { underWay, most, held });
  if (old.pipeline.everyMs === pipeline.everyMs) heir.nextAt = nextAt;
  old.heir = heir;
  return heir;
}

/** Where it stands in each boot; nothing where the frames are others, or come another way. */
function inherited({ chains }: Lane, was: StreamPlan, plan: StreamPlan): Map<string, Chain> {
  if (was.format !== plan.format || was.durable !== plan.durable) return new Map();
  // Rows of a durable stream come again from the front, and are cut again.
  if (plan.durable && plan.samples !== undefined) {
    return new Map([...chains].map(([boot, chain]) => [boot, chain.again(plan.samples)]));
  }
  return JSON.stringify(was.samples) === JSON.stringify(plan.samples) ? chains : new Map();
}
