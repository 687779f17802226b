import { answer, readArguments } from './ledger/backup/places.ts';
import { restoreBackup } from './ledger/backup/restore.ts';

// node services/control/src/restore.ts <file> [--data folder] [--config folder] [--models folder] [--devices file] [--force] [--json]
// Puts a backup where everything was. Control must not run. Exit 0: done, 1: refused and nothing changed, 2: called wrongly.

const { file, places, json, force } = readArguments(process.env);
await answer(json, async () => {
  const { manifest, replaced, models } = await restoreBackup(file, places, { nowMs: Date.now(), force });
  return {
    value: { file, made_at: manifest.made_at, n: manifest.n, replaced, models },
    lines: [
      `restored what ${file} held at ${manifest.made_at}: decisions up to ${manifest.n}`,
      `what was there before is in ${replaced}`,
      ...models.map((line) => `note: ${line}`),
    ],
  };
});
