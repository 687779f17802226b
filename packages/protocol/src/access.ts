import { z } from 'zod';
import { NameSchema } from './ids.ts';

/** What a token may be good for, and what each of them means to people. `admin` is all of them. */
export const SCOPES = {
  'status:read': 'what runs: status, devices, streams, rules, models, discovered streams',
  'decisions:read': 'decisions, actions, dead letters, events, and their explanations',
  'frames:write': 'post frames',
  'frames:read': 'recordings: pictures and sound of the site',
  'commands:write': 'order commands; retry and cancel actions; arm, disarm, snooze and fire rules',
  'rules:write': 'change rules',
  'config:read': 'the configuration and its revisions',
  'config:write': 'change the configuration: site, streams, targets, roll back',
  'models:run': 'ask models directly (/v2)',
  'models:admin': 'add, load and unload models; choose which version serves',
  'devices:admin': 'add, approve and forget devices; make and revoke their credentials',
  'tokens:admin': 'make and revoke tokens, of no more than it may do itself',
  'audit:read': 'who changed what',
  admin: 'everything',
} as const;
export type Scope = keyof typeof SCOPES;
export const ScopeSchema = z.enum(Object.keys(SCOPES) as [Scope, ...Scope[]]);

const Time = z.iso.datetime();
/** `devices` of a stream in small: names, `*` for any characters. */
const DevicePattern = z
  .string()
  .regex(/^[a-z0-9*][a-z0-9*-]{0,63}$/, 'a device or a pattern as cam-*')
  .meta({ examples: ['cam-*'] });

export const TokenSchema = z
  .strictObject({
    id: z.string(),
    name: NameSchema.describe('who uses it; stands in the audit'),
    scopes: z.array(ScopeSchema),
    devices: z.array(DevicePattern).optional().describe('it sees and reaches these only; absent: all'),
    created_at: Time,
    created_by: z.string(),
    expires_at: Time,
    revoked_at: Time.optional(),
    last_used_at: Time.optional().describe('to the minute'),
  })
  .meta({ id: 'Token' });
export type Token = z.infer<typeof TokenSchema>;

export const TOKEN_DAYS_MAX = 366;
export const NewTokenSchema = z.strictObject({
  name: NameSchema,
  scopes: z.array(ScopeSchema).min(1).max(20),
  devices: z.array(DevicePattern).min(1).max(50).optional(),
  days: z.number().int().min(1).max(TOKEN_DAYS_MAX).default(90).describe('until it expires'),
});
export type NewToken = z.infer<typeof NewTokenSchema>;

/** The answer to `POST /v1/tokens`. The secret is shown this once; only its SHA-256 is kept. */
export const IssuedTokenSchema = TokenSchema.extend({ token: z.string() }).meta({ id: 'IssuedToken' });
export type IssuedToken = z.infer<typeof IssuedTokenSchema>;

/** What one request that may change something came to. Never holds a body, a password or a token. */
export const AuditEntrySchema = z
  .strictObject({
    n: z.number().int(),
    at: Time,
    who: z.strictObject({
      kind: z
        .enum(['token', 'root', 'local', 'box'])
        .describe("a token; the token file; this machine without a token; somebody with this box's files"),
      id: z.string().optional().describe('of the token'),
      name: z.string(),
      address: z.string(),
    }),
    method: z.string(),
    path: z.string(),
    status: z.number().int(),
    code: z.string().optional().describe('of the refusal'),
    request: z.string().describe('x-request-id of the answer'),
    detail: z.record(z.string(), z.unknown()).optional().describe('what the path does not say'),
    sha256: z.string().describe('of the entry before and of this one'),
  })
  .meta({ id: 'AuditEntry' });
export type AuditEntry = z.infer<typeof AuditEntrySchema>;

/**
 * What `brink tokens recover` leaves in control's data folder, and control takes up: whoever can write there owns the box. It holds a
 * hash; the token itself is only printed.
 */
export const RECOVERY_FILE = 'recovered-token.json';
export const RecoverySchema = z.strictObject({
  id: z.string().regex(/^[a-z0-9]{10}$/),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  name: NameSchema,
});
