import { z } from 'zod';
import { NameSchema } from './ids.ts';

// Where actions go over HTTP, and the two kinds of action that go there.

const DAY_MS = 86_400_000;

/** A file of this name holds it: a secret stands in no configuration, no revision, no message and no log. */
export const SecretNameSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9_-]{0,63}$/, 'the name of a file: a-z, 0-9, _ and -, at most 64')
  .describe('a file of this name in BRINK_SECRETS_DIR of control');

function urlProblem(text: string): string | undefined {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) return 'https://… (http:// only to private addresses)';
  if (url.username !== '' || url.password !== '') return 'a URL without user and password; a secret goes into a file';
  return url.hash === '' ? undefined : 'a URL without #';
}

const HttpUrl = z
  .string()
  .max(2000)
  .superRefine((text, context) => {
    const message = urlProblem(text);
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  });

const common = {
  allow_private: z
    .boolean()
    .default(false)
    .describe('whether it may be an address of this network or of this machine; link-local ones never are'),
  timeout_ms: z.number().int().min(100).max(30_000).default(5000).describe('for the whole of one attempt'),
};

const WebhookTargetSchema = z.strictObject({
  webhook: HttpUrl.describe('gets the body as JSON with POST, and an id that stays the same when it is sent again'),
  secret: SecretNameSchema.optional().describe(
    'signs, as Standard Webhooks says: a file of control in BRINK_SECRETS_DIR with whsec_… on a line, or several while one replaces the other',
  ),
  ...common,
});
const NtfyTargetSchema = z.strictObject({
  ntfy: HttpUrl.refine((text) => /\/[\w-]{1,64}$/.test(URL.parse(text)?.pathname ?? ''), {
    message: 'a URL that ends with a topic, as https://ntfy.sh/my-topic',
  }).describe('where and which topic, as https://ntfy.sh/my-topic'),
  secret: SecretNameSchema.optional().describe('access token, in a file of control in BRINK_SECRETS_DIR'),
  ...common,
});
const GotifyTargetSchema = z.strictObject({
  gotify: HttpUrl.describe('the server, as https://gotify.example'),
  secret: SecretNameSchema.describe('token of the application, in a file of control in BRINK_SECRETS_DIR'),
  ...common,
});

/** The dead-man's switch: who gets these and then no more of them knows that Brink is down. */
export const HeartbeatSchema = z
  .strictObject({
    url: HttpUrl.optional().describe('gets a POST with JSON; whoever reads the configuration reads it too'),
    target: NameSchema.optional().describe('of `targets`, with `webhook`, in place of url: signed with its secret'),
    every_ms: z.number().int().min(1000).max(DAY_MS).default(60_000).describe('while everything is ready'),
    allow_private: common.allow_private,
  })
  .refine(({ url, target }) => (url === undefined) !== (target === undefined), {
    message: 'either url or target',
  });
export type HeartbeatConfig = z.infer<typeof HeartbeatSchema>;

/** A receiver of webhooks or notifications. Its kind is the key that holds its URL. */
export const TargetSchema = z.union([WebhookTargetSchema, NtfyTargetSchema, GotifyTargetSchema]);
export type TargetConfig = z.infer<typeof TargetSchema>;

export type TargetKind = 'webhook' | 'ntfy' | 'gotify';
export function targetKind(target: TargetConfig): TargetKind {
  if ('webhook' in target) return 'webhook';
  return 'ntfy' in target ? 'ntfy' : 'gotify';
}

export const WebhookActionSchema = z.strictObject({
  target: NameSchema.describe('of `targets`, with `webhook`'),
  body: z.json().describe('sent as JSON; `${…}` in a text is CEL'),
  expires_ms: z
    .number()
    .int()
    .min(1000)
    .max(7 * DAY_MS)
    .default(DAY_MS)
    .describe('not tried any more after this time'),
});

export const NotifyActionSchema = z.strictObject({
  title: z.string().min(1).max(500).describe('`${…}` is CEL'),
  message: z.string().max(4000).optional().describe('`${…}` is CEL; default: the title alone'),
  priority: z.number().int().min(1).max(5).default(3).describe('as ntfy: 1 least, 3 usual, 5 rings'),
  target: NameSchema.optional().describe('of `targets`, with `ntfy` or `gotify`; default site.notify'),
  expires_ms: z
    .number()
    .int()
    .min(1000)
    .max(7 * DAY_MS)
    .default(3_600_000)
    .describe('not tried any more after this time'),
});

/** How a target is: `open` after several failures, when nothing is sent for a while; `gone` after a 410. */
export const TargetStateSchema = z
  .strictObject({
    target: NameSchema,
    state: z.enum(['closed', 'open', 'gone']),
    in_flight: z.number().int(),
    failures: z.number().int().describe('in a row'),
    tried_at: z.iso.datetime().optional().describe('when it is tried again'),
    gone_at: z.iso.datetime().optional(),
  })
  .meta({ id: 'TargetState' });
export type TargetStateRecord = z.infer<typeof TargetStateSchema>;
