import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

const FILE = 'ledger.restored';
const RestoredSchema = z.strictObject({ from: z.string(), made_at: z.string(), restored_at: z.string() });
export type Restored = z.infer<typeof RestoredSchema>;

/** Left by a person's restore: that the ledger is older than its mirror is meant so. */
export function markRestored(folder: string, restored: Restored): void {
  writeFileSync(join(folder, FILE), JSON.stringify(restored), { mode: 0o600 });
}

/** @returns the sentence for it, or undefined where nothing was restored. Stays until `dropRestored`. */
export function takeRestored(folder: string): string | undefined {
  const path = join(folder, FILE);
  if (!existsSync(path)) return undefined;
  const { from, made_at, restored_at } = RestoredSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  return `restored at ${restored_at} from ${from}, which was made at ${made_at}`;
}

export function dropRestored(folder: string): void {
  rmSync(join(folder, FILE), { force: true });
}
