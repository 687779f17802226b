import type { Discovered, Status } from '@brink/protocol';
import type { Command } from 'commander';
import { armingText } from '../rules/report.ts';
import { type Paint, printable, table } from '../terminal.ts';
import { type Edge, usingApi, type VerbOptions, verb, withApi } from '../verb.ts';

/** `brink status`: exit 1 when something is not ready, a law is broken or the configuration is refused. */
export function addStatus(program: Command, edge: Edge): void {
  const command = withApi(program.command('status')).description('services, laws of conservation, lag, configuration');
  const example = ['brink status', 'docker compose exec control brink status'];
  verb<VerbOptions>(edge, command, example, async (context, options) =>
    usingApi(context, options, async (api) => {
      const [status, discovered] = await Promise.all([
        api.get<Status>('/v1/status'),
        api.get<{ items: Discovered[] }>('/v1/discovered'),
      ]);
      context.show(status, statusLines(status, discovered.items.length, context.paint));
      const { ready, laws, configuration } = status;
      return ready && laws.streams.holds && laws.pipelines.holds && configuration.error === null ? 0 : 1;
    }),
  );
}

function statusLines(status: Status, undeclared: number, paint: Paint): string[] {
  const { configuration, ledger, laws } = status;
  const ready = status.ready ? paint('green', 'ready') : paint('red', 'not ready');
  const lines = [`${paint('bold', status.site)}  ${ready}  (brink ${status.version}, since ${status.started_at})`];
  for (const problem of status.problems) lines.push(`  ${paint('red', '!')} ${printable(problem)}`);
  const applied = configuration.applied ? 'applied everywhere' : paint('yellow', 'not yet applied everywhere');
  lines.push('', `configuration  ${configuration.revision}, ${applied}`);
  if (configuration.error !== null) {
    lines.push(`  ${paint('red', 'the files as they stand are not valid')}, and this revision stays active:`);
    for (const line of configuration.error.detail.split('\n')) lines.push(`  ${printable(line)}`);
  }
  lines.push('', 'services', ...serviceLines(status, paint));
  lines.push('', `streams        ${lawText(laws.streams, paint)}`, ...streamLines(laws.streams.items));
  lines.push('', `pipelines      ${lawText(laws.pipelines, paint)}`, ...pipelineLines(laws.pipelines.items));
  const lag = ledger.lag_ms === null ? 'no decision yet' : `${Math.round(ledger.lag_ms)} ms from frame to commit`;
  lines.push('', `ledger         ${ledger.n} decisions, ${lag}, ${ledger.queued} waiting`);
  if (ledger.problem !== null) lines.push(`  ${paint('red', '!')} ${printable(ledger.problem)}`);
  for (const { rule, ...arming } of status.rules.set_aside) lines.push(`rule ${rule}  ${armingText(arming, paint)}`);
  lines.push(`actions        ${actionText(status)}`);
  const dead = status.dead.map(({ code, count }) => `${count} ${code}`);
  lines.push(`dead letters   ${dead.length === 0 ? 'none' : `${dead.join(', ')} (brink dead)`}`);
  if (undeclared > 0)
    lines.push(`undeclared     ${undeclared} ${undeclared === 1 ? 'stream' : 'streams'} (brink discovered)`);
  if (status.disk !== null)
    lines.push(`disk           ${gigabytes(status.disk.free_bytes)} of ${gigabytes(status.disk.total_bytes)} GB free`);
  return lines;
}

function actionText({ actions, outbox: { oldest_ms } }: Status): string {
  const counts = Object.entries(actions).map(([state, count]) => `${count} ${state}`);
  const oldest = oldest_ms === null ? '' : `; the oldest open one is ${Math.round(oldest_ms / 1000)} s old`;
  return (counts.length === 0 ? 'none' : counts.join(', ')) + oldest;
}

/** What keeps a service from being ready stands at the top, and what is wrong with the files under the configuration. */
function serviceLines(status: Status, paint: Paint): string[] {
  return table(
    status.services.map((service) => {
      const ready = service.state === 'online' && service.ready !== false;
      const state = ready ? service.state : paint('red', service.state === 'online' ? 'not ready' : service.state);
      const models = (service.models ?? []).map((model) => `${model.name}@${model.version} ${model.state}`);
      const refused = service.service === 'control' ? undefined : service.revision_error;
      const why = refused === undefined ? [] : [printable(refused.replaceAll('\n', '; '))];
      return [`  ${service.service}`, service.instance, state, [...models, ...why].join(', ')];
    }),
  );
}

const lawText = (law: { law: string; holds: boolean }, paint: Paint) =>
  `${law.law}: ${law.holds ? paint('green', 'holds') : paint('red', 'BROKEN')}`;

function streamLines(items: Status['laws']['streams']['items']): string[] {
  return table(
    items.map((item) => [
      `  ${item.device}/${item.stream}`,
      `${item.received} received`,
      `${item.accepted} accepted`,
      `${item.duplicate} duplicate`,
      `${item.rejected} rejected`,
      `${item.dropped} dropped`,
    ]),
  );
}

function pipelineLines(items: Status['laws']['pipelines']['items']): string[] {
  return table(
    items.map((item) => [
      `  ${item.pipeline}`,
      `${item.formed} formed`,
      `${item.decided} decided`,
      `${item.expired} expired`,
      `${item.dead} dead`,
      `${item.dropped} dropped`,
      `${item.pending} pending`,
    ]),
  );
}

const gigabytes = (bytes: number) => (bytes / 1e9).toFixed(1);
