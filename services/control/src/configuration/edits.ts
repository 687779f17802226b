import { BrinkError, type Configuration } from '@brink/protocol';
import type { RevisionFile } from '../ledger/records.ts';
import type { Edit, FileChange, Section } from './documents.ts';
import { describeFound, didYouMean } from './problems.ts';
import { isRecord, type SourceFile } from './sources.ts';

// What a request asks for, as edits of the files.

/** @param effective what the files say now; undefined where they are not valid @throws BrinkError E_CONFIG, E_CONFLICT */
export type EditsFor = (effective: Configuration | undefined) => Edit[];

type Names = Readonly<Record<string, Readonly<Record<string, unknown>>>>;
const SECTIONS: readonly Edit['section'][] = ['site', 'streams', 'models', 'rules', 'targets'];

/** What stands under a name, defaults filled in. */
export function entryOf(configuration: Configuration | undefined, section: Edit['section'], name: string): unknown {
  const names = namesOf(configuration, section);
  return Object.hasOwn(names, name) ? names[name] : undefined;
}

/** @param value undefined: it goes */
export function entryEdits(section: Section, name: string, value: unknown): EditsFor {
  return (effective) => [{ section, name, value, effective: entryOf(effective, section, name) }];
}

export function serveEdits(model: string, version: number | null): EditsFor {
  return (effective) => {
    const policy = entryOf(valid(effective), 'models', model);
    if (policy === undefined && version === null) return [];
    const value = { ...(policy as object | undefined), serve: version ?? undefined };
    return [{ section: 'models', name: model, value, effective: policy }];
  };
}

/** Everything under a key: what is not in the value goes. */
export function sectionEdits(section: Edit['section'], value: unknown): EditsFor {
  return (effective) => {
    if (!isRecord(value)) {
      throw new BrinkError('E_CONFIG', `${section}: found ${describeFound(value)}; expected a mapping`);
    }
    const names = new Set([...Object.keys(namesOf(valid(effective), section)), ...Object.keys(value)]);
    return [...names].map((name) => ({
      ...{ section, name, value: Object.hasOwn(value, name) ? value[name] : undefined },
      effective: entryOf(effective, section, name),
    }));
  };
}

export function wholeEdits(value: unknown): EditsFor {
  return (effective) => {
    if (!isRecord(value)) throw new BrinkError('E_CONFIG', `found ${describeFound(value)}; expected a mapping`);
    const known = ['version', ...SECTIONS];
    const strange = Object.keys(value).find((key) => !known.includes(key));
    if (strange !== undefined) {
      const hint = didYouMean(strange, known);
      const detail = `found the unknown key "${strange}"; expected one of ${known.join(', ')}`;
      throw new BrinkError('E_CONFIG', hint === undefined ? detail : `${detail}; ${hint}`);
    }
    return SECTIONS.flatMap((section) => sectionEdits(section, value[section] ?? {})(effective));
  };
}

/** These files, and no others. */
export function replacing(
  current: readonly SourceFile[],
  files: readonly RevisionFile[],
  pathOf: (name: string) => string,
): FileChange[] {
  const before = new Map(current.map(({ name, text }) => [name, text]));
  const wanted = new Map(files.map(({ name, text }) => [pathOf(name), text]));
  return [...new Set([...before.keys(), ...wanted.keys()])]
    .map((name) => ({ name, before: before.get(name), after: wanted.get(name) }))
    .filter((change) => change.before !== change.after);
}

const namesOf = (configuration: Configuration | undefined, section: Edit['section']): Names[string] =>
  (configuration as unknown as Names | undefined)?.[section] ?? {};

/** What is not valid cannot be compared with. */
function valid(effective: Configuration | undefined): Configuration {
  if (effective === undefined) throw new BrinkError('E_CONFLICT', 'the files are not valid; put them right first');
  return effective;
}
