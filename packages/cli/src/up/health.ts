import type { Status } from '@brink/protocol';
import { type Clock, wait } from '@brink/runtime';
import type { ProcessPlan } from './plan.ts';

const ASK_MS_MAX = 1000;
const PATIENCE_MS = 20_000;
/** So long all may take to become ready; then it is told what runs and what does not. */
const READY_MS_MAX = 10_000;

/** @param d.waiting told once per reason when it takes long */
export async function untilAnswersReady(
  ops: string,
  d: { clock: Clock; signal: AbortSignal; waiting: (problems: readonly string[]) => void },
): Promise<void> {
  const { clock, signal } = d;
  const startedAt = clock.monotonic();
  let told: string | undefined;
  while (!signal.aborted) {
    const problems = await problemsOf(ops);
    if (problems.length === 0) return;
    const news = problems.join('\n');
    if (news !== told && clock.monotonic() - startedAt > PATIENCE_MS) {
      d.waiting(problems);
      told = news;
    }
    await wait(clock.monotonic() - startedAt < 3000 ? 40 : 250, clock, signal);
  }
}

/** Resolves when the services are ready, or with what is missing when that takes too long though all of them answer. */
export async function readyOrNot(
  ready: Promise<void>,
  o: { group: readonly { plan: ProcessPlan }[]; http: string; token?: string | undefined },
  { clock, signal }: { clock: Clock; signal: AbortSignal },
): Promise<string[]> {
  const over = new AbortController();
  const done = ready.finally(() => over.abort());
  done.catch(() => {});
  const either = AbortSignal.any([over.signal, signal]);
  await wait(READY_MS_MAX, clock, either).catch(() => {});
  while (!either.aborted) {
    const missing = await whatIsMissing(o);
    if (missing !== undefined && !either.aborted) return missing;
    await wait(250, clock, either).catch(() => {});
  }
  await done;
  return [];
}

/** Undefined while a process or control's entrance does not answer, and when nothing is missing. */
async function whatIsMissing(o: {
  group: readonly { plan: ProcessPlan }[];
  http: string;
  token?: string | undefined;
}): Promise<string[] | undefined> {
  const [status, ...each] = await Promise.all([
    statusOf(o),
    ...o.group.map(async ({ plan: { name, ops = '' } }) => {
      if (!(await isLive(ops))) return undefined;
      return (await problemsOf(ops)).map((problem) => `${name}: ${problem}`);
    }),
  ]);
  if (status === undefined || each.includes(undefined)) return undefined;
  const problems = each.flatMap((one) => one ?? []);
  return problems.length === 0 ? undefined : explainProblems(problems, status.services);
}

/** Why it is not ready, as its /readyz says; empty when it is. */
async function problemsOf(ops: string): Promise<string[]> {
  try {
    const answer = await fetch(`${ops}/readyz`, { signal: AbortSignal.timeout(ASK_MS_MAX) });
    if (answer.ok) return [];
    const { problems } = (await answer.json()) as { problems?: string[] };
    return problems === undefined || problems.length === 0 ? ['not ready'] : problems;
  } catch {
    return ['does not answer yet'];
  }
}

/** Does the process answer at all? */
async function isLive(ops: string): Promise<boolean> {
  try {
    return (await fetch(`${ops}/livez`, { signal: AbortSignal.timeout(ASK_MS_MAX) })).ok;
  } catch {
    return false;
  }
}

/** `/v1/status`; undefined when control does not answer there. */
async function statusOf(o: { http: string; token?: string | undefined }): Promise<Status | undefined> {
  try {
    const headers: Record<string, string> = o.token === undefined ? {} : { authorization: `Bearer ${o.token}` };
    const answer = await fetch(`${o.http}/v1/status`, { headers, signal: AbortSignal.timeout(ASK_MS_MAX) });
    return answer.ok ? ((await answer.json()) as Status) : undefined;
  } catch {
    return undefined;
  }
}

/** What keeps the services from being ready, each with the reason of the model it names. */
export function explainProblems(all: readonly string[], services: Status['services']): string[] {
  const loading = loadingOf(all, services);
  // At the start all of them are: that is one thing to say, and no fault of each.
  const several = loading.length > 1;
  const names = new RegExp(`"(${loading.join('|')})"|\\bmodel (${loading.join('|')}) \\d+ is loading`);
  const isLoading = (text: string) => several && names.test(text);
  const problems = all.filter((problem) => !isLoading(problem));
  const told = several ? [`${loading.length} models are loading: ${loading.join(', ')}`] : [];
  const failed = new Map<string, string>();
  for (const { models } of services) {
    for (const model of models ?? []) {
      if (several && model.state === 'loading') continue;
      if (model.state !== 'ready' && model.state !== 'draining') failed.set(model.name, reasonOf(model));
    }
  }
  const named = new Set<string>();
  const lines = problems.map((problem) => {
    const name = [...failed.keys()].find((one) => problem.includes(`"${one}"`));
    if (name === undefined || named.has(name)) return problem;
    named.add(name);
    return `${problem}: ${failed.get(name)}`;
  });
  return [
    ...told,
    ...lines,
    ...[...failed].filter(([name]) => !named.has(name)).map(([name, why]) => `model ${name}: ${why}`),
  ];
}

/** Control's status may be some seconds old; what inference says itself is not. */
const loadingOf = (problems: readonly string[], services: Status['services']) => [
  ...new Set([
    ...services.flatMap(({ models = [] }) => models.filter(({ state }) => state === 'loading').map(({ name }) => name)),
    ...problems.flatMap((problem) => /\bmodel ([a-z0-9-]+) \d+ is loading/.exec(problem)?.[1] ?? []),
  ]),
];

const reasonOf = ({ version, state, reason }: { version: number; state: string; reason?: string | undefined }) =>
  `version ${version} ${state === 'failed' ? 'failed' : 'is still loading'}${reason === undefined ? '' : `, ${reason}`}`;
