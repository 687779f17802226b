import { createHash } from 'node:crypto';
import type { Configuration } from '@brink/protocol';
import canonicalize from 'canonicalize';

/** The first 12 hex digits of the sha256 of the canonical JSON (RFC 8785), defaults filled in. */
export function revisionOf(configuration: Configuration): string {
  return createHash('sha256')
    .update(canonicalize(configuration) ?? '')
    .digest('hex')
    .slice(0, 12);
}
