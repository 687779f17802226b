import { statfs } from 'node:fs/promises';
import type { FleetStatus, Status } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import type { ConfigurationKeeper } from './configuration/active.ts';
import type { ReportedGateway } from './gateways/gateways.ts';
import type { Ledger } from './ledger/ledger.ts';

export interface StatusDeps {
  readonly clock: Clock;
  readonly ledger: Ledger;
  readonly configuration: ConfigurationKeeper;
  readonly services: () => readonly FleetStatus[];
  readonly reports: () => readonly ReportedGateway[];
  readonly linked: () => readonly string[];
  readonly problems: () => string[];
  readonly newest: () => { readonly n: number; readonly lagMs: number | null };
}

/** `/v1/status`: what runs, both conservation laws, how far the ledger is, what is wrong. */
export function createStatus(
  o: { readonly version: string; readonly dataDir: string; readonly startedAt: string },
  d: StatusDeps,
): () => Promise<Status> {
  return async () => {
    const { active, problem } = d.configuration;
    const services = d.services();
    const problems = [...d.problems(), ...problemsOf(services)];
    const [committed, actions, dead, setAside, oldest, disk] = await Promise.all([
      d.ledger.read.counts(),
      d.ledger.read.actionCounts(),
      d.ledger.read.deadCounts(),
      d.ledger.read.setAside(d.clock.now()),
      d.ledger.read.oldestOpenAction(),
      diskOf(o.dataDir),
    ]);
    const linked = d.linked();
    const { lagMs } = d.newest();
    const n = d.newest().n || ((await d.ledger.read.decisions({ limit: 1 })).items[0]?.n ?? 0);
    const { lastCommitMs, queued, walBytes } = d.ledger.stats;
    return {
      site: active.configuration.site.name,
      version: o.version,
      now: new Date(d.clock.now()).toISOString(),
      started_at: o.startedAt,
      ready: problems.length === 0,
      problems,
      configuration: {
        revision: active.revision,
        activated_at: active.activatedAt,
        error: problem === undefined ? null : { ...problem, problems: [...problem.problems] },
        applied: services.every(
          ({ state, revision }) => state === 'offline' || revision === undefined || revision === active.revision,
        ),
      },
      services: services.map((service) =>
        service.service === 'gateway'
          ? { ...service, link: linked.includes(service.instance) ? ('up' as const) : ('down' as const) }
          : service,
      ),
      laws: lawsOf(d.reports()),
      ledger: {
        n,
        lag_ms: lagMs,
        last_commit_ms: lastCommitMs,
        queued,
        wal_bytes: walBytes,
        problem: d.ledger.problem ?? null,
        committed,
      },
      rules: { set_aside: setAside },
      actions,
      outbox: { oldest_ms: oldest === undefined ? null : Math.max(0, d.clock.now() - oldest) },
      dead,
      disk,
    };
  };
}

/** What the others say that they lack, each by its name. What control lacks, it knows sooner than its own report. */
export function problemsOf(services: readonly FleetStatus[]): string[] {
  return services
    .filter(({ service, state }) => service !== 'control' && state === 'online')
    .flatMap(({ instance, ready, problems = [] }) => {
      const said = problems.length === 0 && ready === false ? ['not ready'] : problems;
      return said.map((problem) => `${instance}: ${problem}`);
    });
}

/** The second promise, from what the gateways count: each number is theirs, the sums are made here. */
export function lawsOf(reports: readonly Pick<ReportedGateway, 'report'>[]): Status['laws'] {
  const streams = reports.flatMap(({ report }) =>
    report.streams.map((counts) => {
      const { received, accepted, duplicate, rejected, dropped } = counts;
      return { ...counts, gateway: report.instance, holds: received === accepted + duplicate + rejected + dropped };
    }),
  );
  const pipelines = reports.flatMap(({ report }) =>
    report.pipelines.map((counts) => {
      const { formed, decided, expired, dead, dropped, pending } = counts;
      return { ...counts, gateway: report.instance, holds: formed === decided + expired + dead + dropped + pending };
    }),
  );
  return {
    streams: {
      law: 'received = accepted + duplicate + rejected + dropped',
      holds: streams.every(({ holds }) => holds),
      items: streams,
    },
    pipelines: {
      law: 'formed = decided + expired + dead + dropped + pending',
      holds: pipelines.every(({ holds }) => holds),
      items: pipelines,
    },
  };
}

/** How many books do not balance. */
export function brokenLaws(reports: Parameters<typeof lawsOf>[0]): number {
  const { streams, pipelines } = lawsOf(reports);
  return [...streams.items, ...pipelines.items].filter(({ holds }) => !holds).length;
}

/** As `df` counts, and as the ledger does before it refuses anything: what only root may use is no room. */
async function diskOf(path: string): Promise<Status['disk']> {
  const found = await statfs(path).catch(() => undefined);
  if (found === undefined) return null;
  const { blocks, bfree, bavail, bsize } = found;
  return { path, free_bytes: bavail * bsize, total_bytes: (blocks - bfree + bavail) * bsize };
}
