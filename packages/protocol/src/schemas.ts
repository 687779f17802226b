import { z } from 'zod';
import { ConfigurationSchema, PublishedConfigurationSchema } from './configuration.ts';
import { DeadLetterSchema, DecisionSchema, EvidenceSchema, OutcomeSchema } from './decision.ts';
import {
  AckSchema,
  CommandSchema,
  DeviceStateSchema,
  DeviceStatusSchema,
  FleetStatusSchema,
  ReceiptSchema,
  RetiredSchema,
} from './messages.ts';
import { ChainPassportSchema } from './passport/chain.ts';
import { PassportSchema } from './passport/passport.ts';
import { ProblemSchema } from './problem.ts';
import {
  ActionExplanationSchema,
  ActionRecordSchema,
  DecisionExplanationSchema,
  DeviceRecordSchema,
} from './records.ts';

/** Every format that others read or write. Served at `/schemas/v1/{name}.json`, printed by `brink schema {name}`. */
const SCHEMAS = {
  config: ConfigurationSchema,
  'published-config': PublishedConfigurationSchema,
  passport: PassportSchema,
  'chain-passport': ChainPassportSchema,
  decision: DecisionSchema,
  evidence: EvidenceSchema,
  outcome: OutcomeSchema,
  'dead-letter': DeadLetterSchema,
  action: ActionRecordSchema,
  'action-explanation': ActionExplanationSchema,
  'decision-explanation': DecisionExplanationSchema,
  device: DeviceRecordSchema,
  command: CommandSchema,
  ack: AckSchema,
  receipt: ReceiptSchema,
  retired: RetiredSchema,
  'device-status': DeviceStatusSchema,
  'device-state': DeviceStateSchema,
  'fleet-status': FleetStatusSchema,
  problem: ProblemSchema,
} as const satisfies Record<string, z.ZodType>;

export const SCHEMA_NAMES: readonly string[] = Object.keys(SCHEMAS);

/**
 * The JSON Schema (draft 7, which editors know best) of what may be written: what has a default may be left out.
 * @returns undefined where there is no such name
 */
export function jsonSchema(name: string): object | undefined {
  if (!Object.hasOwn(SCHEMAS, name)) return undefined;
  const schema = z.toJSONSchema(SCHEMAS[name as keyof typeof SCHEMAS], { target: 'draft-7', io: 'input' });
  // zod puts a schema that has an id among the definitions; editors want to find it at the top.
  const { $ref, definitions, ...rest } = schema;
  const top =
    $ref === undefined
      ? undefined
      : (definitions as Record<string, object> | undefined)?.[$ref.split('/').at(-1) ?? ''];
  return top === undefined ? schema : { ...rest, ...top, definitions };
}
