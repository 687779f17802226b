import { isDeepStrictEqual } from 'node:util';
import { type ConfigPath, formatPath } from './problems.ts';
import { isRecord } from './sources.ts';

/** One value that is another one. A side that is absent was not there. */
export interface Difference {
  /** `rules.night.then[0].command.args.level` */
  readonly path: string;
  readonly before?: unknown;
  readonly after?: unknown;
}

/** What is different, the smallest parts that are, in the order of the keys before, then of those that came. */
export function differences(before: unknown, after: unknown, path: ConfigPath = []): Difference[] {
  if (isDeepStrictEqual(before, after)) return [];
  if (isRecord(before) && isRecord(after)) {
    const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
    return [...keys].flatMap((key) => differences(own(before, key), own(after, key), [...path, key]));
  }
  if (Array.isArray(before) && Array.isArray(after) && before.length === after.length) {
    return before.flatMap((item, index) => differences(item, after[index], [...path, index]));
  }
  return [
    {
      path: formatPath(path),
      ...(before === undefined ? {} : { before }),
      ...(after === undefined ? {} : { after }),
    },
  ];
}

const own = (value: Record<string, unknown>, key: string) => (Object.hasOwn(value, key) ? value[key] : undefined);
