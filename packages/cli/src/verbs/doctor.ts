import { BrinkError, type Configuration, type DeviceRecord, type Discovered, type Status } from '@brink/protocol';
import type { Command } from 'commander';
import type { Api } from '../api.ts';
import { examine, type Finding } from '../doctor/checks.ts';
import { type Paint, printable } from '../terminal.ts';
import { type Context, type Edge, usingApi, type VerbOptions, verb, withApi } from '../verb.ts';

/** `brink doctor`: looks at everything that is known of a site, and says what to do. Exit 1 when there is a problem. */
export function addDoctor(program: Command, edge: Edge): void {
  const command = withApi(program.command('doctor')).description(
    'what is wrong with this site, and what to do about it',
  );
  const example = ['brink doctor', 'brink doctor --json | jq \'.items[] | select(.state == "problem")\''];
  verb<VerbOptions>(edge, command, example, async (context, options) => {
    const findings = [nodeVersion(process.versions.node), ...(await usingApi(context, options, look))];
    context.show({ items: findings }, linesOf(findings, context));
    return findings.some(({ state }) => state === 'problem') ? 1 : 0;
  });
}

async function look(api: Api): Promise<Finding[]> {
  const list = <T>(path: string) => api.get<{ items: T[] }>(path).then(({ items }) => items);
  const status = await api.get<Status>('/v1/status');
  const nowMs = Date.now();
  const [discovered, devices, configuration] = await Promise.all([
    list<Discovered>('/v1/discovered'),
    list<DeviceRecord>('/v1/devices'),
    api.get<{ configuration: Configuration }>('/v1/config').then(
      ({ configuration: active }) => active,
      (reason: unknown) => {
        if (BrinkError.from(reason).code === 'E_FORBIDDEN') return undefined;
        throw reason;
      },
    ),
  ]);
  return examine({ status, discovered, devices, configuration, nowMs });
}

function nodeVersion(version: string): Finding {
  const major = Number(version.split('.', 1)[0]);
  if (major === 24) return { what: 'node', state: 'ok', detail: version };
  const advice = '24 is what Brink is tested with; `npm ci` brings it along';
  return { what: 'node', state: 'note', detail: `${version} runs this command`, advice };
}

const MARKS = { ok: ['green', 'ok'], note: ['yellow', '··'], problem: ['red', '!!'] } as const;

function linesOf(findings: readonly Finding[], { paint }: Context): string[] {
  const wide = Math.max(...findings.map(({ what }) => what.length));
  return findings.flatMap((finding) => lines(finding, wide, paint));
}

function lines({ what, state, detail, advice }: Finding, wide: number, paint: Paint): string[] {
  const [colour, mark] = MARKS[state];
  const [first = '', ...rest] = printable(detail).split('\n');
  const indent = ' '.repeat(wide + 5);
  return [
    `${paint(colour, mark)}  ${what.padEnd(wide)} ${first}`,
    ...rest.map((line) => indent + line),
    ...(advice === undefined ? [] : [`${indent}${paint('dim', `→ ${printable(advice)}`)}`]),
  ];
}
