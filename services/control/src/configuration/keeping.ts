import type { RuleConfig, StreamConfig } from '@brink/protocol';
import { problemAt } from './issues.ts';
import type { ConfigProblem } from './problems.ts';
import type { Merged } from './sources.ts';

/** A `record` action gets no more than the stream keeps. */
export function checkRecords(
  rules: Readonly<Record<string, RuleConfig>>,
  streams: Readonly<Record<string, StreamConfig>>,
  merged: Merged,
): ConfigProblem[] {
  const streamOf = new Map(
    Object.entries(streams).flatMap(([name, { pipelines, keep_s }]) =>
      Object.keys(pipelines).map((pipeline) => [pipeline, { name, keep_s }] as const),
    ),
  );
  return Object.entries(rules).flatMap(([rule, config]) => {
    const sources = [config.on].flat().flatMap((pipeline) => streamOf.get(pipeline) ?? []);
    return (['then', 'on_release'] as const).flatMap((list) =>
      config[list].flatMap((action, index) => {
        const beforeMs = 'record' in action ? action.record.before_ms : 0;
        const short = sources.find(({ keep_s }) => 'record' in action && (keep_s === 0 || keep_s * 1000 < beforeMs));
        if (short === undefined) return [];
        const path = ['rules', rule, list, index, 'record'];
        const seconds = Math.max(1, Math.ceil(beforeMs / 1000));
        const problem = {
          found: `before_ms: ${beforeMs}, and stream "${short.name}" keeps ${short.keep_s} s`,
          expected: 'a stream that keeps as much',
          example: `streams: { ${short.name}: { keep_s: ${seconds} } }`,
        };
        return [problemAt(path, merged, problem)];
      }),
    );
  });
}
