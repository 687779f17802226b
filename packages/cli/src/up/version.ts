import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** @param root folder of the project */
export function versionOf(root: string): string {
  return (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version;
}
