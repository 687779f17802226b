import { z } from 'zod';

const Sha256Schema = z.string().regex(/^[0-9a-f]{64}$/);

/** A copy of the ledger that control made by itself. */
export const LedgerCopySchema = z.strictObject({
  file: z.string().describe('in backups/ of the data folder'),
  made_at: z.iso.datetime(),
  n: z.number().int().min(0).describe('running number of the newest decision in it'),
  bytes: z.number().int(),
  sha256: Sha256Schema,
});

/** GET /v1/ledger */
export const LedgerHealthSchema = z.strictObject({
  damage: z.array(z.string()).describe('what was lost and nobody has taken note of, in sentences'),
  copies: z.array(LedgerCopySchema).describe('newest first'),
});
export type LedgerHealth = z.infer<typeof LedgerHealthSchema>;

/** One file in a backup, by its name there. */
const BackedUpFileSchema = z.strictObject({
  name: z.string().max(300),
  bytes: z.number().int().min(0),
  sha256: Sha256Schema,
});

/** A model that was there, weights not included: they are files that somebody has. */
const BackedUpModelSchema = z.strictObject({
  model: z.string(),
  version: z.number().int().positive(),
  files: z.array(BackedUpFileSchema),
});

/** manifest.json, the first file in the tar that `brink backup` writes. */
export const BackupManifestSchema = z.strictObject({
  backup: z.literal(1).describe('version of this form'),
  made_at: z.iso.datetime(),
  brink: z.string().describe('version of the program that wrote it'),
  schema: z.number().int().describe('of the ledger'),
  site: z.string().nullable(),
  n: z.number().int().min(0).describe('running number of the newest decision'),
  files: z.array(BackedUpFileSchema).max(500),
  models: z.array(BackedUpModelSchema).max(10_000),
});
export type BackupManifest = z.infer<typeof BackupManifestSchema>;

/** DELETE /v1/devices/{id}?forget=true */
export const ForgottenDeviceSchema = z.strictObject({
  device: z.string(),
  done: z.boolean().describe('false: it goes on, ask again later'),
  rows: z.number().int().min(0).describe('of the ledger, that were deleted'),
  recordings: z.number().int().min(0),
  left: z.array(z.string()).describe('what could not be reached, or is for people to delete'),
});
export type ForgottenDevice = z.infer<typeof ForgottenDeviceSchema>;
