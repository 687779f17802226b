import { join } from 'node:path';
import { BrinkError, type Configuration } from '@brink/protocol';
import type { ActivationOrigin, RevisionFile } from '../ledger/records.ts';
import type { ConfigurationKeeper } from './active.ts';
import { afterChanges, editFiles, type FileChange, type Section } from './documents.ts';
import { type EditsFor, entryEdits, entryOf, replacing, sectionEdits, serveEdits, wholeEdits } from './edits.ts';
import { readConfigFolder } from './folder.ts';
import { keepReplaced, writeChanges } from './journal.ts';
import { configError } from './problems.ts';
import type { SourceFile } from './sources.ts';
import type { Validation } from './validate.ts';

/** Who asks for an edit, and what they believe is active. */
export interface EditOptions {
  /** As audit names them. */
  readonly by?: string | undefined;
  /** Revisions of which one must be active still; undefined: whatever is. */
  readonly expected?: readonly string[] | undefined;
}

interface Edited {
  /** The one that is active now. */
  readonly revision: string;
  /** Whether the files are others than before. */
  readonly changed: boolean;
}

/**
 * Every edit is all or nothing: the files with the change are validated like any edit by hand, written so that a power cut leaves all
 * or none of it, and active when the promise resolves; where they cannot be made active, the files are put back.
 * Rejects E_CONFIG (every problem; nothing is written), E_REVISION (another one is active than was expected), E_CONFLICT (a file changed
 * meanwhile, or says it in a way that a program should not touch), E_STORAGE_READONLY, E_STORAGE_FULL, E_RULE, E_BUSY, E_UNAVAILABLE.
 */
export interface ConfigurationEditor {
  /** Sets one name of a section, as JSON. What is left out has its default. */
  put(section: Section, name: string, value: unknown, o?: EditOptions): Promise<Edited & { readonly created: boolean }>;
  /** Rejects E_NOT_FOUND too. */
  remove(section: Section, name: string, o?: EditOptions): Promise<Edited>;
  putSite(value: unknown, o?: EditOptions): Promise<Edited>;
  /** Sets or, with `null`, takes away which version of a model serves. */
  setServe(model: string, version: number | null, o?: EditOptions): Promise<Edited>;
  /** The whole of it, as JSON: what is different from the files is written into them, comments kept. */
  putAll(value: unknown, o?: EditOptions): Promise<Edited>;
  /** These files instead of all that there are. */
  putFiles(files: readonly RevisionFile[], o?: EditOptions): Promise<Edited>;
  /** Back to an earlier one: its files where they were kept, else its values written into those that there are. */
  rollBack(to: { configuration: Configuration; files?: readonly RevisionFile[] }, o?: EditOptions): Promise<Edited>;
}

type Keeper = Pick<ConfigurationKeeper, 'validate' | 'exclusively' | 'active' | 'problem'>;
/** @param effective of the files as they are; undefined where they are not valid */
type Make = (files: readonly SourceFile[], effective: Configuration | undefined) => readonly FileChange[];
type Look = (origin: ActivationOrigin) => Promise<void>;

export function createConfigurationEditor(
  o: { readonly dir: string },
  { configuration }: { readonly configuration: Keeper },
): ConfigurationEditor {
  const pathOf = (name: string) => join(o.dir, name);

  function edit(make: Make, how: ActivationOrigin['how'], options: EditOptions = {}): Promise<Edited> {
    return configuration.exclusively(async (look) => {
      const { revision } = configuration.active;
      checkExpected(revision, options);
      const files = await readConfigFolder(o.dir);
      const changes = changesOf(make, files, await configuration.validate(files));
      if (changes.length === 0) return { revision, changed: false };
      const validation = await configuration.validate(afterChanges(files, changes));
      if (!validation.ok) throw configError(validation.problems);
      // What stands in the files now was never active, and nothing else remembers it.
      if (configuration.problem !== undefined) await keepReplaced(o.dir, changes);
      await writeChanges(o.dir, changes);
      await activate(look, { how, ...(options.by === undefined ? {} : { by: options.by }) }, changes);
      return { revision: configuration.active.revision, changed: true };
    });
  }

  /** @throws what kept it from being active, after the files are as they were */
  async function activate(look: Look, origin: ActivationOrigin, changes: readonly FileChange[]): Promise<void> {
    try {
      await look(origin);
    } catch (reason) {
      await writeChanges(
        o.dir,
        changes.map(({ name, before, after }) => ({ name, before: after, after: before })),
      );
      throw reason;
    }
  }

  const byEdits = (edits: EditsFor, how: ActivationOrigin['how'], options?: EditOptions) =>
    edit((files, effective) => editFiles(files, edits(effective), pathOf), how, options);
  const byFiles = (wanted: readonly RevisionFile[], how: ActivationOrigin['how'], options?: EditOptions) =>
    edit((files) => replacing(files, wanted, pathOf), how, options);

  return {
    async put(section, name, value, options) {
      let created = false;
      const edits: EditsFor = (effective) => {
        created = entryOf(effective, section, name) === undefined;
        return entryEdits(section, name, value)(effective);
      };
      return { ...(await byEdits(edits, 'http', options)), created };
    },
    async remove(section, name, options) {
      const edited = await byEdits(entryEdits(section, name, undefined), 'http', options);
      if (!edited.changed) throw new BrinkError('E_NOT_FOUND', `the configuration has no ${section}.${name}`);
      return edited;
    },
    putSite: (value, options) => byEdits(sectionEdits('site', value), 'http', options),
    setServe: (model, version, options) => byEdits(serveEdits(model, version), 'http', options),
    putAll: (value, options) => byEdits(wholeEdits(value), 'http', options),
    putFiles: (files, options) => byFiles(files, 'http', options),
    rollBack: ({ configuration: value, files }, options) =>
      files === undefined ? byEdits(wholeEdits(value), 'rollback', options) : byFiles(files, 'rollback', options),
  };
}

function checkExpected(revision: string, { expected }: EditOptions): void {
  if (expected === undefined || expected.includes(revision)) return;
  throw new BrinkError('E_REVISION', `revision ${revision} is active; expected ${expected.join(' or ')}`);
}

function changesOf(make: Make, files: readonly SourceFile[], now: Validation): readonly FileChange[] {
  try {
    return make(files, now.ok ? now.published.configuration : undefined);
  } catch (reason) {
    // Of files that are wrong already everything is said, not the first thing that an edit stumbled over.
    if (!now.ok && BrinkError.from(reason).code === 'E_CONFLICT') throw configError(now.problems);
    throw reason;
  }
}
