import { z } from 'zod';

/** A path inside the model's folder: no way out of it, no absolute path. */
export const ModelPath = z
  .string()
  .max(200)
  .regex(/^(?!\/)(?!.*(?:^|\/)\.\.?(?:\/|$))[\w./-]+$/, 'a relative path inside the folder of the model');
