import { randomBytes } from 'node:crypto';
import { rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type AuditEntry,
  BrinkError,
  type IssuedToken,
  isName,
  RECOVERY_FILE,
  SCOPES,
  type Scope,
  TOKEN_DAYS_MAX,
  type Token,
} from '@brink/protocol';
import { issueToken } from '@brink/runtime';
import { type Command, InvalidArgumentError } from 'commander';
import { sinceTime } from '../rules/since.ts';
import { printable, table } from '../terminal.ts';
import { type Edge, filled, usingApi, type VerbOptions, verb, wholeNumber, withApi } from '../verb.ts';

/** `brink tokens list|add|revoke|recover`. Without a word: list. */
export function addTokens(program: Command, edge: Edge): void {
  const scopes = Object.entries(SCOPES).map(([scope, what]) => `  ${scope.padEnd(16)} ${what}`);
  const tokens = program
    .command('tokens')
    .description('who may come in over HTTP, and for what')
    .addHelpText('after', `\nScopes:\n${scopes.join('\n')}`)
    .addHelpText('after', '\nExamples:\n  $ brink tokens\n  $ brink tokens add dashboard --scope decisions:read');
  addList(tokens, edge);
  addAdd(tokens, edge);
  addRevoke(tokens, edge);
  addRecover(tokens, edge);
}

function addList(tokens: Command, edge: Edge): void {
  const command = withApi(tokens.command('list', { isDefault: true }))
    .description('those that are good')
    .option('--all', 'revoked and expired ones too');
  const example = ['brink tokens', 'brink tokens list --all --json'];
  verb<VerbOptions & { all?: boolean }>(edge, command, example, async (context, options) =>
    usingApi(context, options, async (api) => {
      const { items } = await api.get<{ items: Token[] }>('/v1/tokens');
      const now = Date.now();
      const shown = items.filter((token) => options.all === true || isGood(token, now));
      const rows = shown.map((token) => [
        token.id,
        token.name,
        token.scopes.join(' ') + (token.devices === undefined ? '' : ` for ${token.devices.join(' ')}`),
        stateOf(token, now),
        token.last_used_at === undefined ? 'never used' : `used ${token.last_used_at}`,
      ]);
      context.show({ items: shown }, rows.length === 0 ? ['no tokens; `brink tokens add` makes one'] : table(rows));
      return 0;
    }),
  );
}

interface AddOptions extends VerbOptions {
  scope: Scope[];
  device?: string[];
  days: number;
}

function addAdd(tokens: Command, edge: Edge): void {
  const command = withApi(tokens.command('add'))
    .description('make a token and print it, once')
    .argument('<name>', 'who uses it, as dashboard', tokenName)
    .requiredOption(
      '--scope <scope>',
      'what it is good for; several times for several (`brink tokens --help`)',
      collectScope,
    )
    .option('--device <name>', 'for this device, or those that fit cam-*, only; several times for several', collect)
    .option('--days <n>', `until it expires, at most ${TOKEN_DAYS_MAX}`, wholeNumber(1, TOKEN_DAYS_MAX), 90);
  const example = [
    'brink tokens add dashboard --scope status:read --scope decisions:read',
    "brink tokens add yard-cameras --scope frames:write --device 'cam-*' --days 365",
  ];
  verb<AddOptions>(edge, command, example, async (context, options, name = '') =>
    usingApi(context, options, async (api) => {
      const { scope: scopes, device: devices, days } = options;
      const body = { name, scopes, days, ...(devices === undefined ? {} : { devices }) };
      const made = await api.send<IssuedToken>('POST', '/v1/tokens', body);
      context.show(made, [
        `${context.paint('bold', name)} may come in until ${made.expires_at}. The token is shown this once.`,
        `  token  ${made.token}`,
        `  id     ${made.id}   (\`brink tokens revoke ${made.id}\` ends it)`,
        '',
        `  curl -H 'Authorization: Bearer ${made.token}' ${api.url}/v1/…`,
      ]);
      return 0;
    }),
  );
}

function addRevoke(tokens: Command, edge: Edge): void {
  const command = withApi(tokens.command('revoke'))
    .description('end a token; what it has open is closed')
    .argument('<id>', 'its id or its name');
  verb<VerbOptions>(edge, command, ['brink tokens revoke k3v9m2a7xy'], async (context, options, wanted = '') =>
    usingApi(context, options, async (api) => {
      const { items } = await api.get<{ items: Token[] }>('/v1/tokens');
      const found = items.find((token) => token.id === wanted || (token.name === wanted && isGood(token, Date.now())));
      if (found === undefined)
        throw new BrinkError('E_NOT_FOUND', `there is no token "${wanted}"; see \`brink tokens\``);
      const revoked = await api.send<Token>('DELETE', `/v1/tokens/${found.id}`);
      context.show(revoked, [`${found.name} (${found.id}) is out`]);
      return 0;
    }),
  );
}

interface RecoverOptions extends VerbOptions {
  data?: string;
  name: string;
}

/** Needs no token: whoever can write control's data folder owns the box. */
function addRecover(tokens: Command, edge: Edge): void {
  const command = tokens
    .command('recover')
    .description("the way back in: a token for everything, for a day, made with this box's files instead of a token")
    .option('--data <folder>', "control's data folder (BRINK_DATA_DIR, else data/control)")
    .option('--name <name>', 'how it is called in the audit', tokenName, 'recovered');
  const example = ['brink tokens recover', 'docker compose exec control brink tokens recover'];
  verb<RecoverOptions>(edge, command, example, async (context, options) => {
    const folder = options.data ?? filled(context.env['BRINK_DATA_DIR']) ?? join('data', 'control');
    const { id, token, sha256 } = issueToken();
    await leave(folder, JSON.stringify({ id, sha256, name: options.name }));
    context.show({ id, token, name: options.name }, [
      'A token for everything, for one day. It is shown this once, and stands in the audit.',
      `  token  ${token}`,
      'Control takes it within a second, or when it starts. Then, for every day:',
      `  printf %s '${token}' > token   # chmod 600`,
      '  brink tokens add me --scope admin --token-file token',
    ]);
    return 0;
  });
}

async function leave(folder: string, text: string): Promise<void> {
  const file = join(folder, RECOVERY_FILE);
  const temporary = join(folder, `.${randomBytes(6).toString('hex')}.tmp`);
  try {
    if (!(await stat(folder)).isDirectory()) throw new Error('it is no folder');
    await writeFile(temporary, text, { mode: 0o600, flag: 'wx' });
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    const why = BrinkError.from(error).detail;
    throw new BrinkError(
      'E_STORAGE_READONLY',
      `${file} cannot be written: ${why}; name control's data folder with --data`,
      {
        cause: error,
      },
    );
  }
}

interface AuditOptions extends VerbOptions {
  who?: string;
  path?: string;
  since?: string;
  limit: number;
  check?: boolean;
}

/** `brink audit`: who changed what. With --check, exit 1 where entries were changed or taken out. */
export function addAudit(program: Command, edge: Edge): void {
  const command = withApi(program.command('audit'))
    .description('who changed what over HTTP, newest first')
    .option('--who <name>', 'of the token; root: the token file; local: this machine without one')
    .option('--path <path>', 'this address and what is below it, as /v1/devices/cam-1')
    .option('--since <time>', 'as 24h, 7d or 2026-11-22T16:00:00Z', sinceTime)
    .option('--limit <n>', 'at most 500', wholeNumber(1, 500), 20)
    .option('--check', 'whether each entry still follows from the one before');
  const example = ['brink audit', 'brink audit --who dashboard --limit 5', 'brink audit --check'];
  verb<AuditOptions>(edge, command, example, async (context, options) =>
    usingApi(context, options, async (api) => {
      if (options.check === true) {
        const check = await api.get<{ intact: boolean; rows: number; broken?: number }>('/v1/audit/check');
        const verdict = check.intact ? 'each follows from the one before' : `number ${check.broken} does not follow`;
        context.show(check, [`${check.rows} entries: ${verdict}`]);
        return check.intact ? 0 : 1;
      }
      const { who, path, since, limit } = options;
      const page = await api.get<{ items: AuditEntry[] }>('/v1/audit', { who, path, since, limit });
      const rows = page.items.map((entry) => [
        entry.at,
        `${entry.who.name} at ${entry.who.address}`,
        `${entry.method} ${printable(entry.path)}`,
        `${entry.status}${entry.code === undefined ? '' : ` ${entry.code}`}`,
        entry.detail === undefined ? '' : printable(JSON.stringify(entry.detail)),
      ]);
      context.show(page, rows.length === 0 ? ['nothing was changed yet'] : table(rows));
      return 0;
    }),
  );
}

const isGood = ({ revoked_at, expires_at }: Token, now: number) =>
  revoked_at === undefined && now < Date.parse(expires_at);

function stateOf(token: Token, now: number): string {
  if (token.revoked_at !== undefined) return `revoked ${token.revoked_at}`;
  return `${isGood(token, now) ? 'until' : 'expired'} ${token.expires_at}`;
}

const collect = (value: string, before: string[] = []) => [...before, value];

function collectScope(value: string, before: Scope[] = []): Scope[] {
  if (!Object.hasOwn(SCOPES, value))
    throw new InvalidArgumentError(`expected one of ${Object.keys(SCOPES).join(', ')}`);
  return [...before, value as Scope];
}

function tokenName(text: string): string {
  if (!isName(text))
    throw new InvalidArgumentError('a name is 1 to 64 of a-z, 0-9 and "-", and starts with a letter or digit');
  return text;
}
