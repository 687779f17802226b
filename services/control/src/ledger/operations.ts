import type { ActionRecord, DeadLetter, Outcome } from '@brink/protocol';
import type { EmittedAction } from '@brink/rules';
import { createAccess } from './access.ts';
import { createClockChanges } from './clock-changes.ts';
import { createDeadLetters } from './dead-letters.ts';
import { createDevices } from './devices.ts';
import { createForgetting } from './forgetting.ts';
import { createKeeping } from './keeping.ts';
import type { CommitReply, Operation, WorkerData } from './messages.ts';
import { createMinutes } from './minutes.ts';
import { createOutbox } from './outbox.ts';
import { createRetention } from './retention.ts';
import { loadPublished } from './revisions.ts';
import { createRulebook } from './rulebook.ts';
import { createSeen } from './seen.ts';
import type { Store } from './store.ts';
import { createUnits } from './units.ts';
import { createUnkept } from './unkept.ts';
import { acceptDamage } from './upkeep.ts';
import { createRuleWatch } from './watchdog.ts';

/** How long a device that was forgotten may still say that it is gone. */
const LAST_WILL_MS = 5000;

/** What a transaction led to, besides the results of its operations. */
export interface Made {
  readonly actions: ActionRecord[];
  /** Older actions that expired, died, were cancelled or suppressed. */
  readonly ended: ActionRecord[];
  outboxDue: boolean;
}

export const nothingMade = (): Made => ({ actions: [], ended: [], outboxDue: false });

export function createParts(store: Store, config: WorkerData) {
  const seen = createSeen(store);
  const devices = createDevices(store);
  const access = createAccess(store);
  const unkept = createUnkept(store);
  const minutes = createMinutes(store);
  const keeping = createKeeping();
  const units = createUnits(store, { seen, unkept, minutes, keeping, devices });
  const deadLetters = createDeadLetters(store);
  const rulebook = createRulebook(store, createRuleWatch(config.watch, config.testing.hangOnRule));
  const outbox = createOutbox({ store, rulebook, startedMs: config.nowMs });
  const retention = createRetention(store, { seen, unkept, units, minutes, triggers: rulebook.triggers }, config);
  const clocks = createClockChanges(store, { rulebook, monotonic: () => performance.now() });
  const forgetting = createForgetting(store, { units, devices, cached: [seen, unkept, minutes, units, rulebook] });
  // Written before COMMIT, read anew after a ROLLBACK.
  const cached = [
    seen,
    unkept,
    minutes,
    units,
    deadLetters,
    rulebook,
    { flush() {}, forget: devices.forget },
    { flush() {}, forget: access.forget },
    { flush() {}, forget: forgetting.forget },
    { flush() {}, forget: outbox.forget },
    { flush() {}, forget: clocks.forget },
    { flush() {}, forget: () => keeping.configure(loadPublished(store)?.configuration) },
  ];
  return {
    store,
    seen,
    devices,
    access,
    clocks,
    forgetting,
    keeping,
    units,
    deadLetters,
    rulebook,
    outbox,
    retention,
    cached,
  };
}
export type Parts = ReturnType<typeof createParts>;

/** One operation within the transaction. @returns what its caller gets */
export function perform(parts: Parts, operation: Operation, nowMs: number, made: Made): unknown {
  const { devices, outbox, rulebook, retention } = parts;
  switch (operation.op) {
    case 'commit':
      return commit(parts, operation, nowMs, made);
    case 'configure':
      rulebook.configure(operation.published, nowMs, operation.activation);
      return parts.keeping.configure(operation.published.configuration);
    case 'tick':
      return emit(parts, rulebook.tick(operation.dueMs, nowMs), nowMs, made);
    case 'ack':
      return outbox.ack(operation.device, operation.ack, nowMs);
    case 'lease':
      return outbox.lease(operation, nowMs);
    case 'settle':
      return outbox.settle(operation.outcomes, nowMs);
    case 'order':
      return due(made, outbox.order(operation.id, operation.config, operation.by, nowMs));
    case 'retry':
      return due(made, outbox.retry(operation.id, nowMs));
    case 'retryAll':
      return outbox.retryAll(operation.ids, nowMs).map((action) => due(made, action));
    case 'cancel':
      return outbox.cancel(operation.id, nowMs);
    case 'rest':
      return rulebook.rest(operation.hung, nowMs);
    case 'arm':
      return rulebook.arm(operation.rule, operation.order, nowMs);
    case 'fire':
      return emit(parts, rulebook.fire(operation, nowMs), nowMs, made);
    case 'deviceStatus':
      // Its last will, which the broker sends when its credentials are revoked.
      if (parts.forgetting.covers(operation.device, nowMs - LAST_WILL_MS)) return undefined;
      return devices.status(operation, nowMs);
    case 'putDevice':
      return devices.put(operation);
    case 'deleteDevice':
      return devices.delete(operation);
    case 'access':
      return parts.access.apply(operation.change, nowMs);
    case 'retain':
      return { deleted: retention.run(parts.clocks.oldTime(nowMs), operation.rows) };
    case 'clock':
      parts.forgetting.forget();
      return parts.clocks.shift(operation.shiftMs, nowMs, operation.why);
    case 'forget':
      return parts.forgetting.run(operation.device, operation.from, nowMs);
    case 'forgot':
      return parts.forgetting.finish(operation.device);
    case 'acceptDamage':
      return acceptDamage(parts.store, nowMs);
    // Done between transactions.
    case 'look':
    case 'scrub':
      return undefined;
  }
}

function commit(parts: Parts, { texts, dead }: Operation & { op: 'commit' }, nowMs: number, made: Made): CommitReply {
  const reply = {
    ns: [] as number[],
    texts: [] as string[],
    kept: [] as boolean[],
    duplicates: 0,
    revision: parts.rulebook.revision,
  };
  for (const [index, text] of texts.entries()) {
    const inserted = dead[index]
      ? refuse(parts, JSON.parse(text) as DeadLetter, text)
      : decide(parts, JSON.parse(text) as Outcome, nowMs, made);
    if (inserted === undefined || inserted === false) reply.duplicates += 1;
    reply.ns.push(typeof inserted === 'object' ? inserted.decision.n : 0);
    reply.texts.push(typeof inserted === 'object' ? inserted.text : '');
    reply.kept.push(typeof inserted !== 'object' || inserted.kept);
  }
  return reply;
}

function refuse({ deadLetters, forgetting }: Parts, letter: DeadLetter, text: string): boolean {
  return !forgetting.covers(letter.device, letter.received_ms) && deadLetters.add(letter, text);
}

/** Decision, rule state and outbox: one transaction. */
function decide(parts: Parts, outcome: Outcome, nowMs: number, made: Made) {
  const { units, rulebook, forgetting, clocks } = parts;
  if (forgetting.covers(outcome.device, outcome.received_ms)) return undefined;
  const inserted = units.add(outcome, nowMs, rulebook.revision);
  if (inserted === undefined) return undefined;
  const { n } = inserted.decision;
  const emitted = rulebook.decision(inserted.decision, clocks.ruleTime(outcome.received_ms, nowMs), nowMs);
  emit(parts, emitted, nowMs, made);
  units.settle(inserted, rulebook.refersTo(n) || emitted.some((action) => action.n === n), nowMs);
  return inserted;
}

function emit({ outbox }: Parts, emitted: readonly EmittedAction[], nowMs: number, made: Made): ActionRecord[] {
  const records = emitted.map((action) => outbox.emit(action, nowMs));
  made.actions.push(...records);
  if (emitted.some((action) => action.fate === 'pending')) made.outboxDue = true;
  return records;
}

function due(made: Made, action: ActionRecord): ActionRecord {
  made.actions.push(action);
  made.outboxDue = true;
  return action;
}
