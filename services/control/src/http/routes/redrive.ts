import {
  ACTION_KINDS,
  ActionRecordSchema,
  BrinkError,
  NameSchema,
  type TargetStateRecord,
  TargetStateSchema,
  underName,
} from '@brink/protocol';
import { z } from 'zod';
import type { TargetState } from '../../actions/outlets.ts';
import type { Ledger } from '../../ledger/ledger.ts';
import { type App, problems } from '../app.ts';
import { time } from '../query.ts';

const RedriveRequest = z
  .strictObject({
    state: z.enum(['dead', 'expired', 'cancelled', 'suppressed', 'sent']).default('dead'),
    rule: NameSchema.optional(),
    kind: z.enum(ACTION_KINDS).optional(),
    target: z.string().min(1).max(256).optional().describe('device, topic or name of `targets`'),
    code: z
      .string()
      .regex(/^E_[A-Z_]{1,40}$/)
      .optional()
      .describe('of the error that it ended with'),
    since: time.optional().describe('made at or after'),
    until: time.optional().describe('made before'),
    before: z.number().int().min(1).optional().describe('`next` of the answer before'),
    limit: z.number().int().min(1).max(500).default(500),
  })
  .meta({ id: 'RedriveRequest' });
const Redriven = z
  .strictObject({
    retried: z.number().int(),
    ids: z.array(z.string()),
    next: z.number().int().optional().describe('there are more: ask again with it as `before`'),
  })
  .meta({ id: 'Redriven' });
const dead = z.strictObject({ id: z.string().max(1000) });
const named = z.strictObject({ name: NameSchema });

export interface RedriveDeps {
  readonly ledger: Pick<Ledger, 'read' | 'retry' | 'retryAll'>;
  /** By name, of the active configuration. */
  readonly targetStates: () => Record<string, TargetState>;
  readonly clock: { now(): number };
}

/** Sending again what ended without success, and how the receivers are. */
export function addRedrive(app: App, d: RedriveDeps): void {
  app.post(
    '/v1/actions/retry',
    {
      schema: {
        summary: 'Send all that ended so again, each under its key; what was acknowledged is left alone',
        tags: ['actions'],
        body: RedriveRequest,
        response: { 200: Redriven, ...problems },
      },
    },
    async ({ body: { since, until, ...query } }) => {
      const page = await d.ledger.read.actions({ ...query, since_ms: since, until_ms: until });
      const retried = await d.ledger.retryAll(page.items.map(({ id }) => id).reverse());
      const ids = retried.map(({ id }) => id);
      return { retried: ids.length, ids, ...(page.next === undefined ? {} : { next: page.next }) };
    },
  );
  app.post(
    '/v1/dead/:id/retry',
    {
      schema: {
        summary: 'Send an action that is dead again. Of a frame that was refused nothing is kept that could be',
        tags: ['dead letters'],
        params: dead,
        response: { 200: ActionRecordSchema, ...problems },
      },
    },
    async ({ params: { id } }) => {
      // Ids of actions have tildes, those of refused frames are numbers.
      if (id.includes('~')) return d.ledger.retry(id);
      const letter = await d.ledger.read.deadLetter(id);
      if (letter === undefined) throw new BrinkError('E_NOT_FOUND', `there is no dead letter "${id.slice(0, 200)}"`);
      const why = `${id} is a frame of ${letter.device}/${letter.stream} that was refused (${letter.error.code}): its bytes are not kept; expected that the device sends it again, or the id of an action`;
      throw new BrinkError('E_CONFLICT', why);
    },
  );
  app.get(
    '/v1/targets/:name/state',
    {
      schema: {
        summary: 'Whether a target gets anything at present',
        tags: ['actions'],
        params: named,
        response: { 200: TargetStateSchema, ...problems },
      },
    },
    ({ params: { name } }) => shown(name, underName(d.targetStates(), name), d.clock.now()),
  );
}

function shown(target: string, state: TargetState | undefined, nowMs: number): TargetStateRecord {
  if (state === undefined) throw new BrinkError('E_NOT_FOUND', `there is no target "${target}" in the configuration`);
  const { waitMs, goneAtMs, inFlight, ...rest } = state;
  return {
    ...{ target, ...rest, in_flight: inFlight },
    ...(waitMs === undefined ? {} : { tried_at: new Date(nowMs + waitMs).toISOString() }),
    ...(goneAtMs === undefined ? {} : { gone_at: new Date(goneAtMs).toISOString() }),
  };
}
